"""What changed in the database, brought to the remote: read there, decided, written, and read back."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from nms.common import faults
from nms.common.flow import Position
from nms.common.ledger import Captured
from nms.common.problem import Problem
from nms.common.remote import Found, RecordMoved, RecordRefused, Remote, Request, Wish
from nms.connectors.postgres.problems import Refused
from nms.connectors.postgres.twoway.side import Kept, Row, TwoWaySide
from nms.sync.absence import Absences
from nms.sync.archive import Archive, Result, captured_of
from nms.sync.echo import alike
from nms.sync.merge import Common, Conflict, Kind, State, changed
from nms.sync.pull import Entry, Fresh, Key, Name, Pull, Settled, common_of, synced

TRIES = 5
PART = 100
LOOKS = (0.2, 0.5, 1.0)
"""Seconds before each further look for a record that should be there: a replica may lag, a proxy may stumble."""


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

    def __init__(self, side: TwoWaySide, remote: Remote, pull: Pull, archive: Archive, absences: Absences) -> None:
        self._side = side
        self._remote = remote
        self._pull = pull
        self._archive = archive
        self._results: dict[Name, Result] = {}
        self.absences = absences
        self.pushed: dict[Name, float] = {}
        self.echoes = 0
        self.writes = 0

    async def send(
        self, keys: Mapping[str, Sequence[Key]], captured: Mapping[Name, Sequence[Captured]]
    ) -> dict[Name, Problem]:
        """Make the remote follow for records by dataset, parents before children; gives those that it refused.

        `captured` has the changes of records as far as they are known one by one.
        """
        refused: dict[Name, Problem] = {}
        gone: list[tuple[str, list[Row]]] = []
        captured = self.absences.join(captured)
        for dataset in [name for name in self._side.datasets if name in keys]:
            for at in range(0, len(keys[dataset]), PART):
                there, missing = await self._changed(dataset, keys[dataset][at : at + PART], captured)
                refused |= await self._follow(dataset, there)
                gone.append((dataset, missing))
        for dataset, missing in reversed(gone):
            refused |= await self._follow(dataset, missing)
        self.absences.hold(captured)
        return refused

    async def read(self, dataset: str, keys: Sequence[Key]) -> dict[Key, Fresh]:
        """Records as the remote has them now, without those that it does not show, or not so that they can be read."""
        refused: dict[Name, Problem] = {}
        found = await self._read_all(dataset, keys, refused, set(keys))
        return {fresh.key: fresh for fresh, _ in found if fresh.remote is not None}

    async def finish(self, position: Position) -> None:
        """Keep the position, which everything that was sent lies before."""
        async with self._side.transaction(position):
            pass

    async def _changed(
        self, dataset: str, keys: Sequence[Key], captured: Mapping[Name, Sequence[Captured]]
    ) -> tuple[list[Row], list[Row]]:
        """Of the records those that are not as they were last synced: rows that are there, and that are not."""
        names = self._side.datasets[dataset].key
        async with self._side.transaction(None):
            rows = await self._side.look(dataset, [(dict(zip(names, key, strict=True)), None) for key in keys])
        told = [row for row in rows if self._pull.conflicts.waits(dataset, row.key) or not _is_echo(row)]
        self.echoes += len(rows) - len(told)
        known = {(dataset, row.key): captured.get((dataset, row.key), ()) for row in rows}
        looked = {(dataset, row.key): [captured_of(dataset, row)] for row in told if not known[dataset, row.key]}
        await self._archive.begin({**known, **looked})
        echoes = {row.key for row in rows} - {row.key for row in told}
        for key in echoes:
            self.absences.forget((dataset, key))
        await self._archive.settle(((dataset, key), Result(detail="the remote has it")) for key in echoes)
        return [row for row in told if row.local is not None], [row for row in told if row.local is None]

    async def _follow(self, dataset: str, rows: Sequence[Row]) -> dict[Name, Problem]:
        """Bring records to the remote; gives those that it refused, and tells the archive what became of all."""
        self._results = {(dataset, row.key): Result() for row in rows}
        refused: dict[Name, Problem] = {}
        keys, expected = [row.key for row in rows], {row.key for row in rows if _is_expected(row)}
        for _ in range(TRIES):
            if not keys:
                break
            found = await self._believed(dataset, await self._read_all(dataset, keys, refused, expected), expected)
            settled = await self._settle(dataset, [fresh for fresh, _ in found], refused)
            founds = {fresh.key: one for fresh, one in found}
            keys, sent = await self._write_all(dataset, settled, founds, refused)
            await self._note(dataset, sent, refused)
            expected -= {one.row.key for one in settled if one.decision.remote is None}
        if keys:
            raise RecordMoved(f"{len(keys)} records of {dataset} change at the remote whenever they are written")
        for name, problem in refused.items():
            self._results[name].refuse(problem)
        await self._archive.settle(self._results.items())
        return refused

    async def _settle(self, dataset: str, fresh: Sequence[Fresh], refused: dict[Name, Problem]) -> list[Settled]:
        try:
            return list((await self._pull.settle({dataset: fresh}, None, sending=True)).values())
        except Refused as problem:
            if len(fresh) == 1:
                refused[dataset, fresh[0].key] = problem
                return []
        return [each for one in fresh for each in await self._settle(dataset, [one], refused)]

    async def _read_all(
        self, dataset: str, keys: Sequence[Key], refused: dict[Name, Problem], expected: Collection[Key]
    ) -> list[tuple[Fresh, Found | None]]:
        """Records as they are now, those that are expected and not there looked for again; some may be refused."""
        turn = asyncio.Semaphore(self._remote.breadth(dataset))
        found: dict[Key, tuple[Fresh, Found | None]] = {}

        async def one(key: Key) -> None:
            try:
                async with turn:
                    found[key] = await self._read(dataset, key)
            except RecordRefused as problem:
                refused[dataset, key] = problem.problem

        await asyncio.gather(*(one(key) for key in keys))
        for seconds in LOOKS:
            missing = [key for key in expected if key in found and found[key][1] is None]
            if not missing:
                break
            await asyncio.sleep(seconds)
            await asyncio.gather(*(one(key) for key in missing))
        return [found[key] for key in keys if key in found and (dataset, key) not in refused]

    async def _believed(
        self, dataset: str, found: list[tuple[Fresh, Found | None]], expected: Collection[Key]
    ) -> list[tuple[Fresh, Found | None]]:
        """What was read, without records that should be there and that one round alone has not found."""
        gone = {fresh.key for fresh, one in found if one is None and fresh.key in expected}
        sure = {key for key in gone if self.absences.see((dataset, key))}
        if sure:
            shows = await self._answers_well(dataset, found)
            self.absences.judge(dataset, shows=shows)
            sure = sure if shows else set()
        doubtful = gone - sure
        for fresh, _ in found:
            if fresh.key not in doubtful:
                self.absences.forget((dataset, fresh.key))
        for key in doubtful:
            self._results.pop((dataset, key), None)
        await self._archive.withdraw((dataset, key) for key in doubtful)
        return [pair for pair in found if pair[0].key not in doubtful]

    async def _answers_well(self, dataset: str, found: Sequence[tuple[Fresh, Found | None]]) -> bool:
        """Whether the remote shows another record, if there is one: a login that lost its right sees none."""
        if any(one is not None for _, one in found):
            return True
        others = await self._side.sample_kept(dataset, self.absences.of(dataset))
        if not others:
            # Of several, somebody would be left: so a table that somebody emptied is looked at, too.
            return len(self.absences.of(dataset)) == 1
        return any(one is not None for _, one in await self._read_all(dataset, others, {}, ()))

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
        unsent: list[Settled] = []

        async def one(record: Settled) -> None:
            result = self._results[dataset, record.row.key]
            result.state = "sent" if record.landed else result.state
            if record.decision.waits or record.decision.remote == record.row.remote:
                result.detail = _reason(record)
                return
            try:
                async with turn:
                    sent.append(await self._write(dataset, record, founds[record.row.key], result.request))
                result.state = "sent"
            except RecordMoved:
                again.append(record.row.key)
            except RecordRefused as problem:
                refused[dataset, record.row.key] = problem.problem
                if not 200 <= (result.request.status or 400) < 300:
                    unsent.append(record)
            finally:
                self.pushed[dataset, record.row.key] = asyncio.get_running_loop().time()

        results = await asyncio.gather(*(one(record) for record in settled), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        try:
            if failed:
                raise failed[0]
            await self._remote.check(dataset)
        except BaseException:
            # What was written meanwhile is noted first, so that it need not be found out again.
            await self._note(dataset, sent, refused)
            raise
        await self._forget(dataset, unsent)
        return again, sent

    async def _forget(self, dataset: str, unsent: Sequence[Settled]) -> None:
        """What was refused certainly had no effect: a remote that has it later has it from somebody else."""
        if unsent:
            async with self._side.transaction(None):
                kept = [Kept(one.row.key, synced(one), one.row.remote, one.sent[:-1]) for one in unsent]
                await self._side.keep(dataset, kept)

    async def _write(self, dataset: str, record: Settled, found: Found | None, request: Request) -> Sent:
        row, wanted = record.row, record.decision.remote
        key = dict(zip(self._side.datasets[dataset].key, row.key, strict=True))
        self.writes += 1
        wish = Wish(key, wanted, changed(row.remote, wanted), found, record.marker)
        faults.point("twoway.before_send")
        await self._archive.check()
        answer = await self._remote.write(dataset, wish, request)
        told = None if answer is None else _as_sent(answer.values, wanted)
        if wanted is None or told is None or not told.keys() >= wanted.keys():
            told = None
        now: State = told
        if self._remote.verifies(dataset) or (wanted is not None and told is None):
            now = _as_sent(await self._read_back(dataset, row.key, wanted), wanted)
        return Sent(record, told, now)

    async def _read_back(self, dataset: str, key: Key, wanted: State) -> State:
        """What the remote has after a write, looked for again where it seems not to have heard of it."""
        now = (await self._read(dataset, key))[0].remote
        for seconds in LOOKS:
            if (now is None) == (wanted is None):
                break
            await asyncio.sleep(seconds)
            now = (await self._read(dataset, key))[0].remote
        return now

    async def _note(self, dataset: str, sent: Sequence[Sent], refused: dict[Name, Problem]) -> None:
        """Keep what the remote has now; where the table does not take what it made of a record, that one is refused."""
        if not sent:
            return
        try:
            await self._note_all(dataset, sent, takes=True)
        except Refused as problem:
            if len(sent) > 1:
                for one in sent:
                    await self._note(dataset, [one], refused)
                return
            refused[dataset, sent[0].before.row.key] = problem
            with suppress(Refused):
                await self._note_all(dataset, sent, takes=False)

    async def _note_all(self, dataset: str, sent: Sequence[Sent], *, takes: bool) -> None:
        """Keep what the remote has now; what it rewrote is taken over where the row still is what was sent."""
        names = self._side.datasets[dataset].key
        asked = [(dict(zip(names, one.before.row.key, strict=True)), one.now) for one in sent]
        told = [(dict(zip(names, one.before.row.key, strict=True)), one.told) for one in sent]
        entries: list[Entry] = []
        async with self._side.transaction(None):
            rows = await self._side.look(dataset, asked)
            answers = await self._side.look(dataset, told)
            writes = [(row, self._rewritten(one, row, said, entries, dataset))
                      for one, row, said in zip(sent, rows, answers, strict=True)]  # fmt: skip
            if takes:
                await self._side.write(dataset, writes)
            after = await self._side.look(dataset, [(pair[0], None) for pair in asked])
            kept = [Kept(row.key, _base(one, row, now), row.remote)
                    for one, row, now in zip(sent, rows, after, strict=True)]  # fmt: skip
            await self._side.keep(dataset, kept)
            await self._pull.conflicts.write(entries)
        for entry in entries:
            result = self._results[dataset, entry.key]
            result.state, result.detail = (
                "unkept",
                f"the remote did not keep {', '.join(entry.conflict.fields) or 'it'}",
            )
        await self._pull.conflicts.settle((dataset, row.key) for row in rows)

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
    return base is not None and base.local == row.local and not row.sent


def _is_expected(row: Row) -> bool:
    """Whether the remote should have a record: it had it, and no deletion of ours is on its way."""
    return row.base_remote is not None and all(one.values is not None for one in row.sent)


def _is_old(name: str, before: State, now: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> bool:
    """Whether a value is what it was before the write, and no other spelling of what was sent."""
    old, new = now.get(name), wanted.get(name)
    return before is not None and before.get(name) == old and not alike(old, new)


def _base(one: Sent, row: Row, after: Row) -> State:
    """What the database is taken to have: what was sent, or what the remote made of it."""
    wanted = one.before.decision.remote
    if wanted is None or after.local is None or row.local is None:
        return wanted
    sent = changed(one.before.row.remote, wanted)
    same = {name for name in sent if row.local.get(name) == wanted.get(name)}
    mine = {**wanted, **{name: text for name, text in (one.before.local or {}).items() if name not in sent}}
    return {**mine, **{name: after.local.get(name) for name in same}}


def _as_sent(held: State, wanted: State) -> State:
    """A record as it was answered: one that leaves out what was sent as null has null."""
    if held is None or wanted is None:
        return held
    return {**{name: None for name, text in wanted.items() if text is None}, **held}


def _unkept(dataset: str, one: Sent, row: Row, fields: tuple[str, ...] = ()) -> Entry:
    before = one.before.row
    base = Common(before.base_local, before.base_remote, before.revision or 0)
    return Entry(
        dataset, row.key, Conflict(Kind.UNKEPT, "unkept", fields), base, one.before.decision.remote, row.remote
    )


def _reason(record: Settled) -> str:
    """Why nothing was sent of a record that had changed."""
    if record.decision.waits:
        return "it waits for somebody to decide: `nms conflicts list`"
    return "found at the remote, without an answer" if record.landed else "the remote has it"
