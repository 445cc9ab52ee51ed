"""What changed in the database, brought to the remote: read there, decided, written, and read back."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nms.common.flow import Position
from nms.common.problem import Problem
from nms.common.remote import Found, RecordMoved, RecordRefused, Remote, Wish
from nms.connectors.postgres.problems import Refused
from nms.connectors.postgres.twoway.side import Kept, Row, TwoWaySide
from nms.sync.merge import Common, Conflict, Kind, State, changed
from nms.sync.pull import ConflictLog, Entry, Fresh, Key, Name, Pull, Settled, common_of

TRIES = 5
PART = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that was written: as it was decided on, what the answer told of it, and what the remote has now."""

    before: Settled
    told: State
    now: State


class Push:
    """Brings records to the remote, some at a time.

    `pushed` has when each was last written there (loop's clock): what was read before that is old.
    """

    def __init__(self, side: TwoWaySide, remote: Remote, pull: Pull, conflicts: ConflictLog) -> None:
        self._side = side
        self._remote = remote
        self._pull = pull
        self._conflicts = conflicts
        self.pushed: dict[Name, float] = {}
        self.echoes = 0
        self.writes = 0

    async def send(self, keys: Mapping[str, Sequence[Key]]) -> dict[Name, Problem]:
        """Make the remote follow for records by dataset, parents before children; gives those that it refused."""
        refused: dict[Name, Problem] = {}
        gone: list[tuple[str, list[Key]]] = []
        for dataset in [name for name in self._side.datasets if name in keys]:
            for at in range(0, len(keys[dataset]), PART):
                there, missing = await self._changed(dataset, keys[dataset][at : at + PART])
                refused |= await self._follow(dataset, there)
                gone.append((dataset, missing))
        for dataset, missing in reversed(gone):
            refused |= await self._follow(dataset, missing)
        return refused

    async def read(self, dataset: str, keys: Sequence[Key]) -> list[Fresh]:
        """Records as the remote has them now."""
        return [fresh for fresh, _ in await self._read_all(dataset, keys)]

    async def finish(self, position: Position) -> None:
        """Keep the position, which everything that was sent lies before."""
        async with self._side.transaction(position):
            pass

    async def _changed(self, dataset: str, keys: Sequence[Key]) -> tuple[list[Key], list[Key]]:
        """Of the records those that are not as they were last synced: rows that are there, and that are not."""
        names = self._side.datasets[dataset].key
        async with self._side.transaction(None):
            rows = await self._side.look(dataset, [(dict(zip(names, key, strict=True)), None) for key in keys])
        told = [row for row in rows if self._conflicts.waits(dataset, row.key) or not _is_echo(row)]
        self.echoes += len(rows) - len(told)
        return [row.key for row in told if row.local is not None], [row.key for row in told if row.local is None]

    async def _follow(self, dataset: str, keys: list[Key]) -> dict[Name, Problem]:
        refused: dict[Name, Problem] = {}
        for _ in range(TRIES):
            if not keys:
                return refused
            founds: dict[Key, Found | None] = {}
            fresh = []
            for one, found in await self._read_all(dataset, keys):
                fresh.append(one)
                founds[one.key] = found
            settled = await self._settle(dataset, fresh, refused)
            keys, sent = await self._write_all(dataset, settled, founds, refused)
            await self._note(dataset, sent)
        if keys:
            raise RecordMoved(f"{len(keys)} records of {dataset} change at the remote whenever they are written")
        return refused

    async def _settle(self, dataset: str, fresh: Sequence[Fresh], refused: dict[Name, Problem]) -> list[Settled]:
        try:
            return list((await self._pull.settle({dataset: fresh}, None)).values())
        except Refused as problem:
            if len(fresh) == 1:
                refused[dataset, fresh[0].key] = problem
                return []
        return [each for one in fresh for each in await self._settle(dataset, [one], refused)]

    async def _read_all(self, dataset: str, keys: Sequence[Key]) -> list[tuple[Fresh, Found | None]]:
        turn = asyncio.Semaphore(self._remote.breadth(dataset))

        async def one(key: Key) -> tuple[Fresh, Found | None]:
            async with turn:
                return await self._read(dataset, key)

        return list(await asyncio.gather(*(one(key) for key in keys)))

    async def _read(self, dataset: str, key: Key) -> tuple[Fresh, Found | None]:
        names = self._side.datasets[dataset].key
        found = await self._remote.read(dataset, dict(zip(names, key, strict=True)))
        return Fresh(key, None if found is None else found.values), found

    async def _write_all(
        self, dataset: str, settled: Sequence[Settled], founds: Mapping[Key, Found | None], refused: dict[Name, Problem]
    ) -> tuple[list[Key], list[Sent]]:
        """Write what differs; gives the keys that must be read again, and what was written."""
        turn = asyncio.Semaphore(self._remote.breadth(dataset))
        again: list[Key] = []
        sent: list[Sent] = []

        async def one(record: Settled) -> None:
            if record.decision.waits or record.decision.remote == record.row.remote:
                return
            try:
                async with turn:
                    sent.append(await self._write(dataset, record, founds[record.row.key]))
            except RecordMoved:
                again.append(record.row.key)
            except RecordRefused as problem:
                refused[dataset, record.row.key] = problem.problem
            finally:
                self.pushed[dataset, record.row.key] = asyncio.get_running_loop().time()

        results = await asyncio.gather(*(one(record) for record in settled), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            # What was written meanwhile is noted first, so that it need not be found out again.
            await self._note(dataset, sent)
            raise failed[0]
        return again, sent

    async def _write(self, dataset: str, record: Settled, found: Found | None) -> Sent:
        row, wanted = record.row, record.decision.remote
        key = dict(zip(self._side.datasets[dataset].key, row.key, strict=True))
        marker = f"{dataset}/{'/'.join(row.key)}/{row.revision or 0}"
        self.writes += 1
        answer = await self._remote.write(dataset, Wish(key, wanted, changed(row.remote, wanted), found, marker))
        told = None if answer is None else answer.values
        if wanted is None or told is None or not told.keys() >= wanted.keys():
            told = None
        now: State = told
        if self._remote.verifies(dataset) or (wanted is not None and told is None):
            now = (await self._read(dataset, row.key))[0].remote
        return Sent(record, told, now)

    async def _note(self, dataset: str, sent: Sequence[Sent]) -> None:
        """Keep what the remote has now; what it rewrote is taken over where the row still is what was sent."""
        if not sent:
            return
        names = self._side.datasets[dataset].key
        asked = [(dict(zip(names, one.before.row.key, strict=True)), one.now) for one in sent]
        told = [(dict(zip(names, one.before.row.key, strict=True)), one.told) for one in sent]
        entries: list[Entry] = []
        async with self._side.transaction(None):
            rows = await self._side.look(dataset, asked)
            answers = await self._side.look(dataset, told)
            writes = [(row, self._rewritten(one, row, said, entries, dataset))
                      for one, row, said in zip(sent, rows, answers, strict=True)]  # fmt: skip
            await self._side.write(dataset, writes)
            after = await self._side.look(dataset, [(pair[0], None) for pair in asked])
            kept = [Kept(row.key, _base(one, row, now), row.remote)
                    for one, row, now in zip(sent, rows, after, strict=True)]  # fmt: skip
            await self._side.keep(dataset, kept)
            await self._conflicts.write(entries)
        await self._conflicts.settle((dataset, row.key) for row in rows)

    def _rewritten(self, one: Sent, row: Row, said: Row, entries: list[Entry], dataset: str) -> State:
        """The row with what the remote made of what was sent; what it forgot stays, and is told."""
        wanted, now, before = one.before.decision.remote, row.remote, one.before.row
        if wanted is None or now is None:
            if (wanted is None) != (now is None):
                entries.append(_unkept(dataset, one, row))
            return row.local
        other = changed(now, wanted)
        forgotten = {
            name for name in other
            if (said.remote is not None and said.remote.get(name) == wanted.get(name))
            or (one.told is None and _is_old(name, before.remote, now, wanted))
        }  # fmt: skip
        if forgotten:
            entries.append(_unkept(dataset, one, row, tuple(sorted(forgotten))))
        if row.local is None:
            return None
        taken = {name for name in other - forgotten if row.local.get(name) == wanted.get(name)}
        return {**row.local, **{name: now[name] for name in taken if name in now}}


def _is_echo(row: Row) -> bool:
    base = common_of(row)
    return base is not None and base.local == row.local


def _is_old(name: str, before: State, now: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> bool:
    """Whether a value is what it was before the write, and no other spelling of what was sent."""
    old, new = now.get(name), wanted.get(name)
    alike = old is not None and new is not None and old.strip().casefold() == new.strip().casefold()
    return before is not None and before.get(name) == old and not alike


def _base(one: Sent, row: Row, after: Row) -> State:
    """What the database is taken to have: what was sent, or what the remote made of it."""
    wanted = one.before.decision.remote
    if wanted is None or after.local is None or row.local is None:
        return wanted
    sent = changed(one.before.row.remote, wanted)
    same = {name for name in sent if row.local.get(name) == wanted.get(name)}
    mine = {**wanted, **{name: text for name, text in (one.before.local or {}).items() if name not in sent}}
    return {**mine, **{name: after.local.get(name) for name in same}}


def _unkept(dataset: str, one: Sent, row: Row, fields: tuple[str, ...] = ()) -> Entry:
    before = one.before.row
    base = Common(before.base_local, before.base_remote, before.revision or 0)
    return Entry(
        dataset, row.key, Conflict(Kind.UNKEPT, "unkept", fields), base, one.before.decision.remote, row.remote
    )
