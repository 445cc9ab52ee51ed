"""The ledger: what is on its way to a remote that has no transactions, written down before it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

State = Literal["sending", "folding", "sent", "saved", "unkept", "refused", "unresolved"]
"""sending: perhaps sent, not answered; folding: part of one that is; sent: answered well; saved: needed no request of
its own; unkept: answered well and not kept; refused: the remote does not take it; unresolved: nobody can tell what
became of it."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A change as the ledger is told of it.

    `identity` names it for ever; `key` is as people read it; `committed` is when, by the source's clock (seconds since
    1970). `plan` is what is to be done, as a text that its target reads; one without is folded into the one whose
    identity `into` is.
    """

    identity: str
    dataset: str
    key: str
    op: str
    committed: float | None = None
    plan: str | None = None
    into: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a change: the last request, what was answered, and why."""

    identity: str
    state: State
    method: str | None = None
    path: str | None = None
    idempotency_key: str | None = None
    body: str | None = None
    status: int | None = None
    answer: str | None = None
    detail: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of a record at the remote.

    `key` is our key, `remote` the one it has there and `base` what was last written or read, as JSON texts; `tag` is
    its ETag. Without `remote` it is to be forgotten. `place` marks where the record is: elsewhere it is another one.
    """

    dataset: str
    key: str
    remote: str | None
    base: str | None = None
    tag: str | None = None
    place: str = ""


class Ledger(Protocol):
    """Keeps the changes of a pipeline and what is known of records; fenced by the run that works it."""

    async def known(self, identities: Sequence[str]) -> dict[str, State]:
        """Which of these changes were begun or settled before, and how; without those that were refused."""
        ...

    async def begin(self, changes: Sequence[Captured]) -> None:
        """Write changes down that are about to be sent, and those folded into them; raises LeaseLost."""
        ...

    async def check(self) -> None:
        """Before a request: raises LeaseLost where another worker has the run now, as it may after any pause."""
        ...

    async def settle(self, settled: Sequence[Settled], links: Sequence[Link]) -> None:
        """Write what became of changes, of those folded into them, and of their records; raises LeaseLost."""
        ...

    async def withdraw(self, identities: Sequence[str]) -> None:
        """Forget changes that were begun and certainly had no effect, with those folded into them; raises LeaseLost."""
        ...

    async def unanswered(self) -> list[Captured]:
        """Changes that were begun and not settled, oldest first: they may have had their effect."""
        ...

    async def links(self, dataset: str, place: str, keys: Sequence[str]) -> dict[str, Link]:
        """What is known of records at a place, by our key."""
        ...

    async def elsewhere(self, dataset: str, place: str, keys: Sequence[str]) -> set[str]:
        """Those of some keys whose records are known at another place; asks nobody where there are none."""
        ...

    async def forbidden(self, dataset: str, method: str) -> list[str]:
        """Marks of the records that a remote forbade (403, 405) to a method since it last let one through.

        A mark is the path of the request; for a POST the SHA-256 of its body follows.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """How many changes there were, by what became of them, as JSON."""
        ...
