"""What the remote has, brought to the database: compared with what both sides last had, decided, written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from nms.common.change import Change, Op, split_key, unframe
from nms.common.flow import Position
from nms.connectors.postgres.twoway.side import Kept, Row, TwoWaySide, UnderWay
from nms.sync.echo import own_write
from nms.sync.merge import Common, Conflict, Decision, Rules, State, changed, merge

Key = tuple[str, ...]
Name = tuple[str, Key]
MOST_UNKNOWN = 5
"""So many writes of one record are remembered whose outcome is not known, the newest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A conflict for the log: which record, what both sides and the base had, what came of it."""

    dataset: str
    key: Key
    conflict: Conflict
    base: Common | None
    local: State
    remote: State


class ConflictLog(Protocol):
    """Keeps conflicts; fenced by the run that works the pipeline."""

    async def write(self, entries: Sequence[Entry]) -> None:
        """Keep conflicts, each once however often it is written."""
        ...

    def rules_of(self, dataset: str, key: Key) -> Rules | None:
        """What somebody decided about a record; None where nobody did."""
        ...

    def waits(self, dataset: str, key: Key) -> bool:
        """Whether a record waits for somebody."""
        ...

    async def settle(self, names: Iterable[Name]) -> None:
        """Take note that both sides of records are alike now."""
        ...


@dataclass(frozen=True, slots=True)
class Fresh:
    """What the remote has of a record now."""

    key: Key
    remote: State


@dataclass(slots=True)
class Settled:
    """A record after its decision: as the table has it and as the remote should have it.

    `landed` says that a write of ours was found at the remote whose outcome was not known; `marker` names the one that
    is to be sent now, and is the same when it is sent again.
    """

    row: Row
    local: State
    decision: Decision
    base: Common | None = None
    landed: bool = False
    marker: str = ""
    sent: tuple[UnderWay, ...] = ()


@dataclass(slots=True)
class _Work:
    """What one transaction does to one dataset."""

    dataset: str
    settled: list[Settled] = field(default_factory=list)

    def writes(self, *, gone: bool) -> list[tuple[Row, State]]:
        return [(one.row, one.local) for one in self.settled if (one.local is None) == gone]


class Pull:
    """Decides on records in transactions of the database; the position goes with the last one."""

    def __init__(self, side: TwoWaySide, conflicts: ConflictLog, rules: Rules) -> None:
        self._side = side
        self.conflicts = conflicts
        self._rules = rules

    async def settle(
        self, fresh: Mapping[str, Sequence[Fresh]], position: Position | None, *, sending: bool = False
    ) -> dict[Name, Settled]:
        """Bring what the remote has to the tables, by the policy; gives every record as it is then.

        With `sending` it is remembered what the remote is about to be sent.

        Raises a Problem where a table refuses one of the records; then nothing was written.
        """
        works: list[_Work] = []
        async with self._side.transaction(position):
            for dataset in self._ordered(fresh):
                works.append(await self._decide(dataset, fresh[dataset]))
            for work in works:
                await self._side.write(work.dataset, work.writes(gone=False))
            for work in reversed(works):
                await self._side.write(work.dataset, work.writes(gone=True))
            for work in works:
                await self._keep(work, sending=sending)
            # Before the commit: what is decided again after a crash is the same and is kept once.
            await self.conflicts.write([entry for work in works for entry in _entries(work)])
        settled = {(work.dataset, one.row.key): one for work in works for one in work.settled}
        await self.conflicts.settle(
            name for name, one in settled.items() if not one.decision.waits and one.decision.remote == one.row.remote
        )
        return settled

    def _ordered(self, names: Iterable[str]) -> list[str]:
        return [name for name in self._side.datasets if name in set(names)]

    async def _decide(self, dataset: str, fresh: Sequence[Fresh]) -> _Work:
        work = _Work(dataset)
        names = self._side.datasets[dataset].key
        asked = [(dict(zip(names, one.key, strict=True)), one.remote) for one in fresh]
        for row in await self._side.look(dataset, asked):
            rules = self.conflicts.rules_of(dataset, row.key) or self._rules
            base = common_of(row)
            own = own_write(base, row.sent, row.local, row.remote)
            decision = merge(own or base, row.local, row.remote, rules)
            landed = own is not None
            sent = () if landed else row.sent
            work.settled.append(Settled(row, decision.local, decision, own or base, landed, sent=sent))
        return work

    async def _keep(self, work: _Work, *, sending: bool) -> None:
        for one in work.settled if sending else ():
            _remember(one)
        written = [one for one in work.settled if one.local != one.row.local]
        if written:
            names = self._side.datasets[work.dataset].key
            asked = [(dict(zip(names, one.row.key, strict=True)), None) for one in written]
            # As the table has them now: it may round, and triggers may change what they are given.
            for one, row in zip(written, await self._side.look(work.dataset, asked), strict=True):
                one.local = row.local
        kept = [Kept(one.row.key, synced(one), one.row.remote, one.sent) for one in work.settled if _moved(one)]
        if kept:
            await self._side.keep(work.dataset, kept)


def fresh_of(changes: Iterable[Change]) -> dict[str, list[Fresh]]:
    """The newest state of each record among changes of the remote, by dataset."""
    found: dict[str, dict[Key, Fresh]] = {}
    for change in changes:
        key = key_of(change)
        remote = None if change.op is Op.DELETE else values_of(change)
        found.setdefault(change.shape.dataset, {})[key] = Fresh(key, remote)
    return {dataset: list(records.values()) for dataset, records in found.items()}


def key_of(change: Change) -> Key:
    """The texts of a change's key."""
    return tuple(_text(field) or "" for field in split_key(change.key))


def values_of(change: Change) -> dict[str, str | None]:
    """The texts of a change's values; those that were not sent are not there."""
    pairs = zip(change.shape.columns, change.values, strict=False)
    return {column.name: _text(field) for column, field in pairs if field is not None}


def common_of(row: Row) -> Common | None:
    """The base of a record as `merge` takes it: of the fields that travel now."""
    if row.revision is None:
        return None
    if row.base_local is None and row.base_remote is None:
        # Neither had it: it is only known that it was to be made.
        return None
    pick = _picker(row)
    return Common(pick(row.base_local), pick(row.base_remote), row.revision)


def _picker(row: Row) -> Callable[[State], State]:
    names = set(row.local or row.remote or row.base_local or ())
    return lambda state: None if state is None else {name: text for name, text in state.items() if name in names}


def synced(one: Settled) -> State:
    """What the database is taken to have: where the remote still is to be told, what that has, so that it is told.

    A field that the remote never had and is to be told is not among it.
    """
    remote, wanted = one.row.remote, one.decision.remote
    if remote == wanted or one.local is None or remote is None or wanted is None:
        return one.local if remote == wanted else remote
    untold = changed(remote, wanted)
    mine = {name: text for name, text in one.local.items() if name in remote or name not in untold}
    return {**mine, **{name: remote[name] for name in untold if name in remote}}


def _moved(one: Settled) -> bool:
    row = one.row
    if one.decision.waits:
        return False
    before = (row.base_local, row.base_remote, row.sent)
    return row.revision is None or before != (synced(one), row.remote, one.sent)


def _remember(one: Settled) -> None:
    """Give what is to be sent a name, the one it had where it was sent before."""
    wanted = one.decision.remote
    if one.decision.waits or wanted == one.row.remote:
        return
    fields = changed(one.row.remote, wanted)
    values = None if wanted is None else {name: text for name, text in wanted.items() if name in fields}
    if not one.sent or one.sent[-1].values != values:
        one.sent = (*one.sent, UnderWay(uuid4().hex, values))[-MOST_UNKNOWN:]
    one.marker = one.sent[-1].name


def _entries(work: _Work) -> list[Entry]:
    return [
        Entry(work.dataset, one.row.key, one.decision.conflict, one.base, one.row.local, one.row.remote)
        for one in work.settled
        if one.decision.conflict is not None
    ]


def _text(field: bytes) -> str | None:
    value = unframe(field)
    return None if value is None else value.decode()
