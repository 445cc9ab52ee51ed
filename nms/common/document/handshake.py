"""How the provider of an endpoint may ask whether it is its own: a word, or a mapping with a secret of its own."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, PlainSerializer

from nms.common.document.mapping import Part
from nms.common.document.scheme import NoScheme, Scheme
from nms.common.document.system import Secret
from nms.common.document.values import refusal
from nms.common.origin import ANSWERS, INBOX

__all__ = ["Handshakes", "OneHandshake", "SigningHandshake", "check_handshakes"]

PlainWord = Literal["slack", "graph", "mailchimp", "mandrill", "cloudevents"]
SigningWord = Literal["zoom", "x"]
SHOWN: Final = frozenset({"path", "basic", "bearer", "none"})
"""Schemes that a request without a body can pass."""


class PlainHandshake(Part):
    """A handshake that needs no secret of its own."""

    type: PlainWord

    @property
    def reference(self) -> str | None:
        """What it has of its own: nothing."""
        return None

    @property
    def origin(self) -> str:
        """Where its secret would go."""
        return INBOX


class TokenHandshake(Part):
    """Meta shows the verify token that was entered beside the address."""

    type: Literal["meta"]
    token: Annotated[Secret | None, Field(description="the verify token; else any secret of the scheme")] = None

    @property
    def reference(self) -> str | None:
        """The reference to its own token."""
        return self.token

    @property
    def origin(self) -> str:
        """Where its token goes: nowhere, it is compared with."""
        return INBOX


class SigningHandshake(Part):
    """Zoom and X want a text signed with their secret."""

    type: SigningWord
    secret: Annotated[
        Secret | None, Field(description="what signs the answer; else the first secret of the scheme of that name")
    ] = None

    @property
    def reference(self) -> str | None:
        """The reference to its own secret."""
        return self.secret

    @property
    def origin(self) -> str:
        """Where its secret goes: it signs for whoever asks."""
        return ANSWERS


OneHandshake = PlainHandshake | TokenHandshake | SigningHandshake
WORDS: Final[tuple[str, ...]] = (*get_args(PlainWord), "meta", *get_args(SigningWord))


def _read_word(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in WORDS:
        raise refusal(f"this is one of {', '.join(f'`{word}`' for word in WORDS)}, or a mapping with `type`")
    return {"type": value}


def _write_word(handshake: OneHandshake) -> object:
    told = handshake.model_dump(mode="json", exclude_none=True)
    return told if len(told) > 1 else handshake.type


def _offer_words(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"type": "string", "enum": list(WORDS)}, *schema["oneOf"]]


Handshake = Annotated[
    OneHandshake,
    Field(discriminator="type", json_schema_extra=_offer_words),
    BeforeValidator(_read_word),
    PlainSerializer(_write_word),
]
Handshakes = Annotated[
    tuple[Handshake, ...],
    Field(strict=False, description="how the provider may ask whether this is its endpoint"),
]


def check_handshakes(handshakes: Sequence[OneHandshake], scheme: Scheme) -> None:
    """Raise a validation error for handshakes that do not fit the scheme, or that stand there twice."""
    if len({handshake.type for handshake in handshakes}) < len(handshakes):
        raise refusal("a handshake stands here twice")
    for handshake in handshakes:
        if isinstance(handshake, SigningHandshake):
            _check_signing(handshake, scheme)
        elif isinstance(handshake, TokenHandshake):
            if handshake.token is None and isinstance(scheme, NoScheme):
                raise refusal("the scheme `none` has no secret to compare with: `{type: meta, token: env://NAME}`")
        elif handshake.type == "mailchimp" and scheme.type not in SHOWN:
            raise refusal("`mailchimp` asks without a signature: its scheme is `path` (or `basic`, `bearer`)")


def _check_signing(handshake: SigningHandshake, scheme: Scheme) -> None:
    word = handshake.type
    if scheme.type == word:
        return
    if handshake.secret is None:
        raise refusal(
            f"`{word}` signs with the secret of the scheme `{word}`; with another scheme it has its own: "
            f"`{{type: {word}, secret: env://NAME}}`"
        )
    if handshake.secret in getattr(scheme, "secrets", ()):
        raise refusal(f"the secret of `{word}` is not one of the scheme: who asks would get events signed")
