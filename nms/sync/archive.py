"""The archive of a two-way pipeline: every change of the tables, and what was sent of it and answered.

A change is named as one-way pipelines name it, by its place in the log. One that was found by looking (before the log
is read, with `back: poll`, after more than 20,000 keys in one batch) is one change, however many there were; where the
log tells of it later, too, it is told as saved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from uuid import uuid4

from nms.common.ledger import Captured, Ledger, Settled, State
from nms.common.problem import Problem
from nms.common.remote import Request
from nms.connectors.postgres.twoway.side import Row
from nms.sync.pull import Name

FINAL = ("sent", "saved", "unkept", "unresolved")


@dataclass(slots=True)
class Result:
    """What became of a record's changes; `saved` where the remote needed no request."""

    state: State = "saved"
    detail: str | None = None
    request: Request = field(default_factory=Request)

    def refuse(self, problem: Problem) -> None:
        """The remote does not take them; where it was not even let look, that is the request."""
        self.state, self.detail = "refused", problem.detail
        if self.request.method is None and "method" in problem.facts:
            told = problem.facts["method"], problem.facts["path"], problem.status
            self.request.method, self.request.path, self.request.status = told


class Archive:
    """Tells the ledger of changes by record: those of one record are folded into the newest."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._newest: dict[Name, str] = {}

    async def open(self) -> None:
        """Forget what was begun when the pipeline was worked last: it is met again, and so is its effect."""
        unanswered = await self._ledger.unanswered()
        if unanswered:
            await self._ledger.withdraw([one.identity for one in unanswered])

    async def begin(self, captured: Mapping[Name, Sequence[Captured]]) -> None:
        """Write changes down that are about to be sent; those that were settled before are left as they are."""
        known = await self._ledger.known([one.identity for changes in captured.values() for one in changes])
        begun: list[Captured] = []
        for name, changes in captured.items():
            fresh = [one for one in changes if known.get(one.identity) not in FINAL]
            if not fresh:
                continue
            *folded, newest = fresh
            self._newest[name] = newest.identity
            begun += [_folded(one, newest.identity) for one in folded]
            begun.append(newest)
        if begun:
            await self._ledger.begin(begun)

    async def check(self) -> None:
        """Before a request: raises LeaseLost where another worker has the pipeline now, as it may after any pause."""
        await self._ledger.check()

    async def withdraw(self, names: Iterable[Name]) -> None:
        """Forget changes that were begun: they are met again."""
        identities = [self._newest.pop(name) for name in names if name in self._newest]
        if identities:
            await self._ledger.withdraw(identities)

    async def settle(self, results: Iterable[tuple[Name, Result]]) -> None:
        """Write what became of the changes of records."""
        settled = [
            Settled(self._newest.pop(name), one.state, detail=one.detail, **asdict(one.request))
            for name, one in results
            if name in self._newest
        ]
        if settled:
            await self._ledger.settle(settled, ())


def captured_of(dataset: str, row: Row) -> Captured:
    """The change of a row that was found by looking: nobody knows how many there were, nor when."""
    op = "insert" if row.base_local is None else "delete" if row.local is None else "update"
    return Captured(uuid4().hex, dataset, ",".join(row.key), op)


def _folded(one: Captured, into: str) -> Captured:
    return Captured(one.identity, one.dataset, one.key, one.op, one.committed, into=into)
