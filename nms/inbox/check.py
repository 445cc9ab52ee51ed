"""One request being verified: what is known of it, how it is judged while its body streams in, why it is refused."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

LONGEST_VALUE: Final = 4_096
"""Bytes of a header that is looked into; no scheme comes near."""
LONGEST_URL: Final = 8_192
_URL: Final = re.compile(r"https?://[\x21\x22\x24-\x7e]+")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]*")


@dataclass(slots=True)
class Request:
    """What is known of a request before its body.

    Names of headers are in lower case, as ASGI has them. `url` is the whole URL as the provider wrote it, query
    included: behind a proxy it is not the one that arrives here, so the endpoint says it. `arrived` is in seconds since
    1970. `tail` is what stands in the path behind the endpoint's name, as it was sent (not decoded).
    """

    method: str
    url: str
    headers: Sequence[tuple[bytes, bytes]]
    arrived: float
    tail: bytes = b""
    named: Mapping[bytes, bytes] = field(init=False, repr=False, compare=False)
    """Headers by their names in lower case; of one that stands there more than once the last."""

    is_plain: bool = field(init=False, repr=False, compare=False)
    """Whether no header stands there more than once."""

    def __post_init__(self) -> None:
        self.named = dict(self.headers)
        self.is_plain = len(self.named) == len(self.headers)

    def one(self, name: bytes) -> bytes:
        """The value of a header; empty where it is not there, or more than once."""
        if self.is_plain:
            return self.named.get(name, b"")
        found = [value for one, value in self.headers if one == name]
        return found[0] if len(found) == 1 else b""

    def count(self, wanted: bytes) -> int:
        """How often a header stands there, by its name in lower case."""
        return sum(name.lower() == wanted for name, _ in self.headers)

    @property
    def query(self) -> str:
        """What stands behind the first `?` of the URL, as it was sent."""
        return self.url.partition("?")[2]


class Refusal(Exception):
    """Why a request is not believed: a stable code, a sentence for a person, facts; never a secret or a signature.

    It is raised within this package only; `Check.finish` returns it.
    """

    def __init__(self, code: str, sentence: str, **facts: str | float) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.facts = code, sentence, facts


class Check(ABC):
    """One request on its way through a scheme; `refusal` may be known before the body has come.

    Each chunk of the body goes through `update`, the whole of it through `finish`, once.
    """

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self._size = 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._size += len(chunk)
        if self.refusal is None:
            self._take(chunk)

    def finish(self, body: bytes) -> Refusal | None:
        """Why the request is not believed, or None for a genuine one; raises ValueError for another body."""
        if len(body) != self._size:
            raise ValueError("this is not the body that the check was given in chunks")
        if self.refusal is None:
            self._settle(self._judge, body)
        return self.refusal

    def _settle(self, act: Callable[..., None], *given: object) -> None:
        """Do something that may refuse, and keep why."""
        try:
            act(*given)
        except Refusal as refusal:
            # Frames and what came before would hold the body for as long as the refusal is kept.
            refusal.__context__ = None
            self.refusal = refusal.with_traceback(None)

    def _take(self, chunk: bytes) -> None:  # noqa: B027
        """Take bytes of the body that are needed before its end; most schemes need none."""

    @abstractmethod
    def _judge(self, body: bytes) -> None:
        """Raise Refusal unless the request is genuine."""


def read_headers(request: Request, wanted: Collection[bytes]) -> dict[bytes, bytes]:
    """The values of some headers by their names in lower case, in one walk over all of them.

    Raises Refusal unless each stands there once, is plain text and not long.
    """
    named = request.named
    found = {low: named.get(low, b"") for low in wanted}
    values = found.values()
    together = b"".join(values)
    if len(together) > LONGEST_VALUE or not all(values) or not _PRINTABLE.fullmatch(together):
        for low, value in found.items():
            if not value or len(value) > LONGEST_VALUE or not _PRINTABLE.fullmatch(value):
                raise _refuse_header(low.decode("ascii", "replace"), value)
    if not request.is_plain:
        _refuse_repeated(request, wanted)
    return found


def _refuse_repeated(request: Request, wanted: Collection[bytes]) -> None:
    seen: set[bytes] = set()
    for name, _ in request.headers:
        low = name.lower()
        if low in wanted and low in seen:
            header = low.decode("ascii", "replace")
            raise Refusal("header-repeated", f"The header `{header}` stands there more than once.", header=header)
        seen.add(low)


def _refuse_header(header: str, value: bytes) -> Refusal:
    if not value:
        return Refusal("header-missing", f"The header `{header}` is missing or empty.", header=header)
    if len(value) > LONGEST_VALUE:
        return Refusal(
            "header-too-long",
            f"The header `{header}` has {len(value)} bytes; at most {LONGEST_VALUE} are looked at.",
            header=header,
            bytes=len(value),
        )
    return Refusal("header-malformed", f"The header `{header}` is not plain ASCII text.", header=header)


def read_url(request: Request) -> str:
    """The URL of a request as ASCII text; raises Refusal for one that no provider could have called."""
    if len(request.url) > LONGEST_URL or not _URL.fullmatch(request.url):
        raise Refusal("url-malformed", "The URL of the request is not one that can have been signed.")
    return request.url


def read_method(request: Request) -> str:
    """The method of a request; raises Refusal for what is none."""
    if not _METHOD.fullmatch(request.method):
        raise Refusal("method-malformed", "The method of the request is not one that can have been signed.")
    return request.method
