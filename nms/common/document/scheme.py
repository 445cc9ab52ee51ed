"""The part of an endpoint's document that says how its requests are verified: the scheme, its secrets, its window."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from nms.common.document.mapping import Part
from nms.common.document.system import Secret
from nms.common.document.values import Duration, refusal
from nms.common.document.web import Header, Plain

__all__ = [
    "BasicScheme", "BearerScheme", "HmacScheme", "HubspotScheme", "NamedScheme", "NoScheme", "PathScheme", "Piece",
    "Scheme", "StandardScheme", "TimedScheme", "split_signed",
]  # fmt: skip

WINDOW: Final = 300.0
"""Seconds that the time of a request may be off, either way."""
MOST_SECRETS: Final = 10
_PLACEHOLDER: Final = re.compile(r"\{(method|url|timestamp|body|header:([A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}))\}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the signed bytes: a fixed text, or a fact of the request by its `kind` (`text` names the header)."""

    kind: Literal["text", "method", "url", "timestamp", "body", "header"]
    text: str = ""


_FACTS: Final[Mapping[str, Piece]] = {
    "method": Piece("method"),
    "url": Piece("url"),
    "timestamp": Piece("timestamp"),
    "body": Piece("body"),
}


def split_signed(template: str) -> tuple[Piece, ...]:
    """The pieces of `v0:{timestamp}:{body}`; raises a validation error for what is no placeholder."""
    pieces: list[Piece] = []
    at = 0
    for match in _PLACEHOLDER.finditer(template):
        pieces.append(Piece("text", template[at : match.start()]))
        pieces.append(Piece("header", match[2].lower()) if match[2] else _FACTS[match[1]])
        at = match.end()
    pieces.append(Piece("text", template[at:]))
    if any(piece.kind == "text" and ("{" in piece.text or "}" in piece.text) for piece in pieces):
        raise refusal("placeholders are `{body}`, `{timestamp}`, `{method}`, `{url}` and `{header:NAME}`")
    return tuple(piece for piece in pieces if piece != Piece("text"))


def _check_signed(template: str) -> str:
    bodies = sum(piece.kind == "body" for piece in split_signed(template))
    if bodies != 1:
        raise refusal("`{body}` stands in what is signed, once; else a signature would fit any body")
    return template


def _check_user(user: str) -> str:
    if ":" in user:
        raise refusal("a user name of this login has no `:` (RFC 7617)")
    return user


Secrets = Annotated[
    tuple[Secret, ...],
    Field(
        min_length=1, max_length=MOST_SECRETS, strict=False, description="any of them fits; two while one is rotated"
    ),
]
Window = Annotated[Duration, Field(ge=1, le=86_400, description="how far the time of a request may be off, either way")]


class StandardScheme(Part):
    """Standard Webhooks: v1 by a secret `whsec_...`, v1a (Ed25519) by a public key `whpk_...`."""

    type: Literal["standard"]
    secrets: Secrets
    headers: Annotated[
        Literal["webhook", "svix"], Field(description="how its headers begin: `webhook-id` or the older `svix-id`")
    ] = "webhook"
    window: Window = WINDOW


class TimedScheme(Part):
    """A provider by name that signs the time too."""

    type: Literal["stripe", "slack", "zoom"]
    secrets: Secrets
    window: Window = WINDOW


class NamedScheme(Part):
    """A provider by name whose signature has no time; what is sent again is told by its id or body alone."""

    type: Literal["github", "meta", "shopify", "x", "mandrill", "twilio"]
    secrets: Secrets


class HubspotScheme(Part):
    """HubSpot; v1 and v2 have no time and are for older apps."""

    type: Literal["hubspot"]
    secrets: Secrets
    version: Literal["v1", "v2", "v3"] = "v3"
    window: Annotated[Window, Field(description="v3: how far the time of a request may be off, either way")] = WINDOW


class HmacScheme(Part):
    """Any other provider that signs with a shared secret (HMAC, RFC 2104)."""

    type: Literal["hmac"]
    secrets: Secrets
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "hex-upper", "base64", "base64url"] = "hex"
    header: Header
    prefix: Annotated[Plain, Field(max_length=100, description="what stands before the signature")] = ""
    timestamp: Annotated[Header | None, Field(description="the header with the time, when there is one")] = None
    unit: Literal["s", "ms"] = "s"
    window: Window = WINDOW
    signed: Annotated[
        Plain,
        AfterValidator(_check_signed),
        Field(
            description="what is signed, of `{body}`, `{timestamp}`, `{method}`, `{url}`, `{header:NAME}` and text",
            examples=["{timestamp}.{body}"],
            validate_default=True,
        ),
    ] = "{body}"

    @field_validator("signed")
    @classmethod
    def _sign_the_time(cls, signed: str, info: ValidationInfo) -> str:
        told = info.data.get("timestamp") is not None
        if told != ("{timestamp}" in signed):
            raise refusal(
                "a time that is not signed proves nothing; write `{timestamp}` into `signed`"
                if told
                else "`{timestamp}` needs `timestamp`, the header in which it stands"
            )
        return signed


class BasicScheme(Part):
    """User and password (RFC 7617)."""

    type: Literal["basic"]
    user: Annotated[Plain, AfterValidator(_check_user), Field(min_length=1)]
    secrets: Secrets


class BearerScheme(Part):
    """A token in the header `Authorization` (RFC 6750)."""

    type: Literal["bearer"]
    secrets: Secrets


class PathScheme(Part):
    """A secret as the last part of the path: Mailchimp Marketing, and others that cannot sign."""

    type: Literal["path"]
    secrets: Secrets


class NoScheme(Part):
    """Anybody may send; with ENVIRONMENT=dev only."""

    type: Literal["none"]


Scheme = Annotated[
    StandardScheme
    | TimedScheme
    | NamedScheme
    | HubspotScheme
    | HmacScheme
    | BasicScheme
    | BearerScheme
    | PathScheme
    | NoScheme,
    Field(discriminator="type"),
]
