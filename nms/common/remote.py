"""A remote whose records are read and written one by one: what a two-way pipeline asks of its connector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nms.common.change import Shape
from nms.common.ledger import Ledger
from nms.common.problem import Problem, Retry

Texts = Mapping[str, str | None]


class RecordMoved(Problem):
    """A record was not as it was when it was read, or nobody knows whether a write had its effect: read it again."""

    status, code, retry, title = 409, "record-moved", Retry.NOW, "The record changed at the remote meanwhile"
    remedy = "Nothing to do; it is read and decided anew."


class RecordRefused(Exception):
    """The remote does not take this record; the Problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Found:
    """A record as the remote has it: its JSON text, its fields as texts, and its validator where there is one.

    Of the fields those are there that the remote sent.
    """

    body: bytes
    values: Texts
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a record shall be: its key and all its fields as the database's texts (None: it shall not be).

    `changed` names the fields that differ from what was found; `found` is None where there is no record.
    `marker` is the same for every repeat of the wish and for nothing else; of it idempotency keys are made.
    """

    key: Texts
    values: Texts | None
    changed: frozenset[str]
    found: Found | None
    marker: str


@dataclass(slots=True)
class Request:
    """The last request of a write and what was answered, as they are kept for whoever searches them."""

    method: str | None = None
    path: str | None = None
    idempotency_key: str | None = None
    body: str | None = None
    status: int | None = None
    answer: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class RemoteSpec:
    """What a remote is opened with: the pipeline, the shape of each dataset's records, and what was sent before."""

    pipeline: str
    shapes: Mapping[str, Shape]
    ledger: Ledger | None = None


class Remote(Protocol):
    """Single records of a remote; any number of tasks may use it."""

    async def read(self, dataset: str, key: Texts) -> Found | None:
        """The record with a key, read now; None where there is none.

        Raises RecordRefused for one that cannot be read, or Problems that say when to try again.
        """
        ...

    async def write(self, dataset: str, wish: Wish, request: Request) -> Found | None:
        """Make a record as it is wished; gives what the answer says that it is, None where it tells nothing.

        `request` has what was sent and answered, also where it fails. Raises RecordMoved,
        RecordRefused, or Problems that say when to try again.
        """
        ...

    async def check(self, dataset: str) -> None:
        """After a number of writes: raises a Problem where so many in a row are forbidden that none will be let in."""
        ...

    def verifies(self, dataset: str) -> bool:
        """Whether each record is to be read back, for the remote may answer well and forget."""
        ...

    def breadth(self, dataset: str) -> int:
        """How many records may be under way at a time."""
        ...

    def place(self, dataset: str) -> str:
        """A mark of where the records are: what both sides had last means nothing at another place."""
        ...

    def facts(self) -> dict[str, Any]:
        """What it did, as JSON."""
        ...

    async def close(self) -> None:
        """Let go of every resource; safe to call twice."""
        ...
