"""The tables of a two-way pipeline and what both sides last had: read and written in one transaction."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from nms.common import faults
from nms.common.change import NULL, UNCHANGED, Change, Field, Op, Shape, frame, unframe
from nms.common.flow import Position
from nms.connectors.postgres import statements as common
from nms.connectors.postgres.libpq import BEGIN, COMMIT, Command, Libpq, Statement, StepFailed
from nms.connectors.postgres.problems import ServerAway
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.target import Fence
from nms.connectors.postgres.twoway import statements
from nms.connectors.postgres.writer import Writer

Texts = Mapping[str, str | None]
Key = tuple[str, ...]
_TEXT = (25, 25, 25)
_ADVANCE = Statement("nms_advance", common.ADVANCE_POSITION, _TEXT)
_HOLD = Statement("nms_hold", statements.HOLD_FENCE, _TEXT[:2])
_ORIGIN = Statement("nms_origin", statements.EMIT_ORIGIN, _TEXT[:1])
_KEEP = Statement("nms_keep", statements.KEEP_BASE, _TEXT)
_FORGET = Statement("nms_forget", statements.FORGET_BASE, _TEXT)
_FORGET_ALL = Statement("nms_forget_all", statements.FORGET_ALL, _TEXT[:2])
_KNOWN = Statement("nms_base_known", statements.COUNT_KNOWN, _TEXT)
_KEYS = Statement("nms_base_keys", statements.LIST_BASE_KEYS, _TEXT)
_SAMPLE = Statement("nms_base_sample", statements.SAMPLE_BASE_KEYS, _TEXT)


FEW = 10
"""So many rows may go at once however few there were, as long as some are left."""


def is_suspicious(missing: int, known: int) -> bool:
    """Whether rather somebody emptied a table than that so many of its rows were meant to go."""
    return missing == known > 1 or (missing > FEW and 2 * missing > known)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What was sent to the remote, or was about to be: the fields that it changes (None: a deletion), and its name."""

    name: str
    values: Texts | None


@dataclass(frozen=True, slots=True)
class Row:
    """A record: its key, what the table has, what the remote has in the form of the table; each may be absent.

    `base_local` and `base_remote` are what they were when last synced; `revision` is None where they never were.
    `sent` is what was sent since, of which nobody knows yet whether it had its effect.
    """

    key: Key
    local: Texts | None
    remote: Texts | None
    base_local: Texts | None
    base_remote: Texts | None
    revision: int | None
    sent: tuple[UnderWay, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What both sides of a record have from now on, and what is on its way to the remote."""

    key: Key
    local: Texts | None
    remote: Texts | None
    sent: tuple[UnderWay, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table of the pipeline: its dataset's name, fields in the order of its columns, how to write it."""

    name: str
    shape: Shape
    table: TargetTable
    writer: Writer

    @property
    def names(self) -> list[str]:
        """The fields, by their names at the remote."""
        return [column.name for column in self.shape.columns]

    @property
    def key(self) -> list[str]:
        """The fields of the key."""
        return [self.names[at] for at in self.shape.key]


class TwoWaySide:
    """One connection to the database of a two-way pipeline; who is not in a transaction waits until the one ends.

    With `says_origin` a transaction that writes rows tells the pipeline's own reader of the log to pass it over.
    `above` names the datasets whose tables a dataset's table refers to.
    """

    def __init__(self, libpq: Libpq, fence: Fence, datasets: Iterable[Dataset], *, says_origin: bool) -> None:
        self._libpq = libpq
        self._fence = fence
        self._says_origin = says_origin
        self._turn = asyncio.Lock()
        self._looks: dict[str, Statement] = {}
        self._scans: dict[str, Statement] = {}
        self._counts: dict[str, Statement] = {}
        self._types: list[Any] = []
        self._revivals: dict[str, Statement] = {}
        self.datasets = {one.name: one for one in datasets}
        self.above: Mapping[str, set[str]] = {}
        for at, one in enumerate(self.datasets.values()):
            missing, revive = statements.count_missing(one.table), statements.forget_missing(one.table)
            self._counts[one.name] = Statement(f"nms_missing_{at}", missing, _TEXT[:2])
            self._revivals[one.name] = Statement(f"nms_revive_{at}", revive, _TEXT[:2])
            self._looks[one.name] = Statement(f"nms_look_{at}", statements.look_rows(one.table, one.names), _TEXT)
            self._scans[one.name] = Statement(f"nms_scan_{at}", statements.find_changed(one.table, one.names), _TEXT)

    async def close(self) -> None:
        """End the connection; an open transaction is rolled back with it."""
        await self._libpq.close()

    @asynccontextmanager
    async def transaction(self, position: Position | None) -> AsyncIterator[None]:
        """All of the block in one transaction, with the position, or none of it; without one only the fence is checked.

        Raises FenceRaised when another worker has the pipeline.
        """
        async with self._turn:
            await self._libpq.query(BEGIN.statement.sql)
            async with self._ended(position):
                if self._says_origin:
                    await self._fetch(Command(_ORIGIN, [self._fence.pipeline.encode()]))
                yield

    @asynccontextmanager
    async def _ended(self, position: Position | None) -> AsyncIterator[None]:
        try:
            yield
            faults.point("twoway.before_commit")
            await self._run([self._end(position), COMMIT])
        except Exception:
            with suppress(ServerAway):
                await self._libpq.query("rollback")
            raise

    async def look(self, dataset: str, asked: Sequence[tuple[Texts, Texts | None]]) -> list[Row]:
        """The rows of keys, locked until the transaction ends, each beside what the remote has of it; in that order.

        Raises a Problem where the table cannot have a value; fields that the remote did not send are as in the base.
        """
        given = json.dumps([{"key": dict(key), "remote": remote and dict(remote)} for key, remote in asked])
        found = await self._fetch(Command(self._looks[dataset], self._about(dataset, given)))
        return [_row(texts, remote) for texts, (_, remote) in zip(found, asked, strict=True)]

    async def write(self, dataset: str, rows: Sequence[tuple[Row, Texts | None]]) -> None:
        """Make rows as they are wanted; raises a Problem where the table refuses one."""
        one = self.datasets[dataset]
        commands = [command for row, wanted in rows if wanted != row.local for command in _commands(one, row, wanted)]
        if commands:
            await self._run(commands)

    async def keep(self, dataset: str, kept: Sequence[Kept]) -> None:
        """Write what both sides have now; what neither has any more is forgotten."""
        there = [one for one in kept if one.local is not None or one.remote is not None or one.sent]
        gone = [one.key for one in kept if one.local is None and one.remote is None and not one.sent]
        rows = [
            {"key": one.key, "local": one.local, "remote": one.remote, "sent": [asdict(each) for each in one.sent]}
            for one in there
        ]
        commands = [Command(_KEEP, self._about(dataset, json.dumps(rows)))] if rows else []
        commands += [Command(_FORGET, self._about(dataset, json.dumps(gone)))] if gone else []
        if commands:
            await self._run(commands)

    async def is_altered(self) -> bool:
        """Whether a column that travels has another type, or is gone, since this was asked for the first time."""
        async with self._turn:
            found = [await self._libpq.query(statements.describe_columns(one.table)) for one in self.datasets.values()]
        self._types = self._types or found
        return found != self._types

    async def list_changed(self, dataset: str, after: Key = ()) -> list[Key]:
        """Keys, at most some thousands behind one, of rows that are not as the base has them."""
        return await self._keys(self._scans[dataset], dataset, after)

    async def count_known(self, dataset: str, most: int) -> int:
        """How many records both sides had when last synced; `most` where there are more."""
        async with self._turn:
            ((count,),) = await self._fetch(Command(_KNOWN, self._about(dataset, str(most))))
        return int(count or 0)

    async def count_missing(self, dataset: str) -> tuple[int, int]:
        """How many records both sides had that the table has no more, and how many both sides had; reads all rows."""
        async with self._turn:
            ((missing, known),) = await self._fetch(Command(self._counts[dataset], self._about(dataset, "")[:2]))
        return int(missing or 0), int(known or 0)

    async def forget_missing(self, dataset: str) -> None:
        """Forget what both sides had of records that the table has no more: they come back from the remote."""
        async with self.transaction(None):
            await self._run([Command(self._revivals[dataset], self._about(dataset, "")[:2])])

    async def forget(self, dataset: str) -> None:
        """Forget what both sides had of any record."""
        async with self.transaction(None):
            await self._run([Command(_FORGET_ALL, self._about(dataset, "")[:2])])

    async def list_kept(self, dataset: str, after: Key = ()) -> list[Key]:
        """Keys, at most some thousands behind one, that the remote had when it was last heard of."""
        return await self._keys(_KEYS, dataset, after)

    async def sample_kept(self, dataset: str, without: Sequence[Key]) -> list[Key]:
        """Keys of some records that the remote had when it was last heard of, others each time; reads all of them."""
        return await self._keys(_SAMPLE, dataset, without)

    async def _keys(self, statement: Statement, dataset: str, about: Sequence[str | Key]) -> list[Key]:
        async with self._turn:
            rows = await self._fetch(Command(statement, self._about(dataset, json.dumps(about))))
        return [tuple(json.loads(key or "")) for (key,) in rows]

    def _about(self, dataset: str, what: str) -> list[bytes | None]:
        return [self._fence.pipeline.encode(), dataset.encode(), what.encode()]

    def _end(self, position: Position | None) -> Command:
        if position is None:
            return Command(_HOLD, [self._fence.pipeline.encode(), str(self._fence.epoch).encode()])
        words = (self._fence.pipeline, str(self._fence.epoch), json.dumps(position))
        return Command(_ADVANCE, [word.encode() for word in words])

    async def _run(self, commands: Sequence[Command]) -> None:
        await self._libpq.prepare(commands)
        try:
            await self._libpq.run(commands)
        except StepFailed as failed:
            raise failed.problem from failed

    async def _fetch(self, command: Command) -> list[tuple[str | None, ...]]:
        return [tuple(_text(field) for field in row) for row in await self._libpq.fetch(command)]


def _commands(dataset: Dataset, row: Row, wanted: Texts | None) -> list[Command]:
    shape, names = dataset.shape, dataset.names
    at = {name: place for place, name in enumerate(dataset.key)}
    texts = [row.key[at[name]] if name in at else (wanted or {}).get(name) for name in names]
    values: tuple[Field, ...] = tuple(_field(text) for text in texts)
    key = shape.key_of(values)
    if wanted is None:
        return dataset.writer.commands(Change(shape, Op.DELETE, key))
    if row.local is None:
        return dataset.writer.commands(Change(shape, Op.INSERT, key, values))
    same = [name not in at and row.local.get(name) == wanted.get(name) for name in names]
    partial = tuple(UNCHANGED if one else value for one, value in zip(same, values, strict=True))
    return dataset.writer.commands(Change(shape, Op.UPDATE, key, partial))


def _row(texts: Sequence[str | None], sent: Texts | None) -> Row:
    key, local, remote, base_local, base_remote, sending, revision = texts
    held: Texts | None = _record(remote)
    before, mine = _record(base_remote), _record(local)
    if held is not None and sent is not None:
        known = before or {}
        held = {name: text if name in sent else known[name] for name, text in held.items() if name in {*sent, *known}}
    return Row(
        tuple(json.loads(key or "")), mine, held, _record(base_local), before,
        None if revision is None else int(revision), tuple(UnderWay(**one) for one in json.loads(sending or "[]")),
    )  # fmt: skip


def _record(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)


def _field(text: str | None) -> Field:
    return NULL if text is None else frame(text.encode())


def _text(field: bytes) -> str | None:
    value = unframe(field)
    return None if value is None else value.decode()
