"""Problems: errors an operator can act on, rendered as RFC 9457 `application/problem+json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar


class Retry(StrEnum):
    """What a caller should do with the same request."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One malformed field: where it stands (RFC 6901 JSON pointer) and what is wrong with it.

    `place` says where the pointer starts: the body, or the `query`, `path`, `header` or `cookie` of the request.
    """

    pointer: str
    detail: str
    place: str = "body"

    def to_dict(self) -> dict[str, str]:
        """The members of one entry of `errors`; `in` is left out for the body."""
        where = {} if self.place == "body" else {"in": self.place}
        return {"pointer": self.pointer, **where, "detail": self.detail}


class Problem(Exception):
    """An error with a stable code, an HTTP status, a retry advice and a remedy.

    Subclasses set the class attributes; `detail` is one plain sentence, keyword arguments are facts:
    JSON values that become members of the rendered problem (never replacing a standard one) and attributes of
    the exception. `headers` go out with the HTTP answer.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retry: ClassVar[Retry] = Retry.NEVER
    title: ClassVar[str] = "Something went wrong"
    remedy: str = "Look into the log of this process; the request id names the line."
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, detail: str, *, remedy: str | None = None, pointers: Sequence[Pointer] = (), **facts: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointers = tuple(pointers)
        self.facts = facts
        if remedy is not None:
            self.remedy = remedy

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """The RFC 9457 members: type, title, status, detail, plus code, retry, remedy, facts and errors."""
        body: dict[str, Any] = {
            "type": f"urn:nms:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retry": self.retry.value,
            "remedy": self.remedy,
        }
        if self.pointers:
            body["errors"] = [item.to_dict() for item in self.pointers]
        return body | {name: value for name, value in self.facts.items() if name not in body}


NOTHING_HERE = "Nothing stands at this path."
"""The sentence of whoever asks for what is not there, or is hidden from him: no word may tell them apart."""


class NotFound(Problem):
    """Nothing stands under this name."""

    status, code, title = 404, "not-found", "Not found"
    remedy = "Check the name; the list of what exists is one level up."


class Malformed(Problem):
    """The input does not have the right form; `errors` points at each field."""

    status, code, title = 422, "malformed", "Malformed input"
    remedy = "Correct the fields that `errors` points at and send it again."


class Unavailable(Problem):
    """Something this process depends on does not answer."""

    status, code, retry, title = 503, "unavailable", Retry.LATER, "A dependency does not answer"
    remedy = "It is tried again by itself; `/readyz` tells which dependency is away."
