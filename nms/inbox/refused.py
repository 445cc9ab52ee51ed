"""A request that was refused: as the receiver has it, as it goes to the quarantine, and as it stands there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from starlette.types import Scope

from nms.common.document import EndpointDocument
from nms.common.document.scheme import Scheme
from nms.common.problem import Problem
from nms.inbox.address import arrived_at
from nms.inbox.arrival import Arrival, new_event_id
from nms.inbox.check import Refusal, Request
from nms.inbox.problems import (
    BatchTooLarge,
    BodyTooLarge,
    CodingRefused,
    ContentTypeRefused,
    IdMissing,
    IdReused,
    NotBelieved,
    WebhookUnreadable,
)
from nms.inbox.scheme import Login, Parameters, Signed
from nms.inbox.schemes import rule_of

Bytes = bytes
"""The type, beside a member of that name."""
Standing = Literal["believed", "signed", "bare"]
KEPT: Final = (
    NotBelieved,
    WebhookUnreadable,
    IdMissing,
    IdReused,
    BatchTooLarge,
    BodyTooLarge,
    ContentTypeRefused,
    CodingRefused,
)
"""What a request is kept for: a mended document, secret or provider helps."""
FACTS_BYTES: Final = 500
"""What is counted for a request beside its headers, URL and body."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the receiver has it when it is refused; `raw` is its body, None where that was not read."""

    scope: Scope
    request: Request
    document: EndpointDocument
    raw: bytes | None = None
    arrivals: Sequence[Arrival] = ()
    is_believed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused request, to be kept; `reason` is the code of what is wrong where it is not believed, else `code`.

    `address` and `query` are as they arrived, `arrived` in seconds since 1970; `body` is None where it is not kept.
    `reused` is the event of it whose id belongs to another one, without its body.
    """

    id: UUID
    endpoint: str
    method: str
    address: str
    query: str
    tail: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | None
    arrived: float
    standing: Standing
    status: int
    code: str
    reason: str
    detail: str
    remote: str | None
    reused: Arrival | None

    @classmethod
    def of(cls, seen: Seen, problem: Problem) -> "Refused":
        """What is kept of a request that this problem refuses."""
        client = seen.scope.get("client")
        reused = seen.arrivals[problem.facts.get("item", 0)] if isinstance(problem, IdReused) else None
        # Not the problem itself: its frames hold the body, and more.
        return cls(
            id=new_event_id(),
            endpoint=seen.document.name,
            standing="believed" if seen.is_believed else _standing(seen.document.scheme, seen.request),
            status=problem.status,
            code=problem.code,
            reason=str(problem.facts.get("reason", problem.code)),
            detail=problem.detail,
            method=seen.request.method,
            address=arrived_at(seen.scope),
            query=seen.scope["query_string"].decode("latin-1"),
            tail=seen.request.tail,
            headers=seen.request.headers,
            body=seen.raw,
            remote=client[0] if client else None,
            arrived=seen.request.arrived,
            reused=None if reused is None else replace(reused, headers=b"", body=b""),
        )

    @property
    def size(self) -> int:
        """Bytes that keeping it takes, nearly."""
        told = sum(len(name) + len(value) for name, value in self.headers) + len(self.address) + len(self.query)
        return FACTS_BYTES + told + len(self.body or b"")


@dataclass(frozen=True, slots=True)
class Held:
    """A request of the quarantine: what is shown of it, and what is not (`sealed`, None where there was no key).

    `headers` are lines; `body` is None where it is not kept, and so is `bytes`, its size.
    """

    number: int
    id: UUID
    endpoint: str
    standing: Standing
    status: int
    code: str
    reason: str
    detail: str
    method: str
    url: str
    bytes: int | None
    remote: str | None
    received_at: datetime
    headers: Bytes
    body: Bytes | None
    sealed: Bytes | None


def not_believed(refusal: Refusal) -> NotBelieved:
    """The problem of a request that a scheme refuses."""
    facts: dict[str, Any] = refusal.facts
    return NotBelieved(refusal.sentence, reason=refusal.code, **facts)


def _standing(scheme: Scheme, request: Request) -> Standing:
    """Whether a request bore the form of the scheme, however wrong."""
    rule = rule_of(scheme)
    if isinstance(rule, Signed | Parameters):
        header = rule.header.encode()
    elif isinstance(rule, Login) and rule.kind != "path":
        header = b"authorization"
    else:
        return "signed" if isinstance(rule, Login) and request.tail else "bare"
    return "signed" if any(name.lower() == header and value for name, value in request.headers) else "bare"
