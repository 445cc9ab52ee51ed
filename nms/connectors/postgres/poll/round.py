"""One round of a poll: all that changed since a snapshot, read in one later snapshot (DESIGN 4.2)."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from nms.common.change import Change, Op, delete_of, insert_of
from nms.common.flow import Part
from nms.common.rows import read_rows
from nms.connectors.postgres import statements
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.poll import statements as asking
from nms.connectors.postgres.poll.place import REACH, Horizon, Polled
from nms.connectors.postgres.problems import SchemaChanged, TablesChanged
from nms.connectors.postgres.snapshot import CHUNK_BYTES, Dataset
from nms.connectors.postgres.spool import RowBuffer, SpoolSpace

PART_CHANGES = 10_000
FIRST_ROWS = 5_000
MOST_ROWS = 500_000
CHUNK_SECONDS = 1.0
_UNKNOWN_ROWS = 200
_BUFFER_BYTES = 4 << 20


@dataclass(slots=True)
class Found:
    """What changed in one table: whether it was emptied, the keys that are gone, the rows as they are now."""

    polled: Polled
    gone: RowBuffer
    rows: RowBuffer
    emptied: bool = False
    count: int = 0

    def discard(self) -> None:
        """Free memory and disk."""
        self.gone.discard()
        self.rows.discard()


@dataclass(slots=True)
class Round:
    """A transaction at the source whose snapshot is `now`; what changed is asked for since `then`.

    `at` is the source's clock, `ages` what the server said of the age of new rows, `until` when it should end.
    """

    connection: Connection
    space: SpoolSpace
    pipeline: str
    then: Horizon
    now: Horizon
    at: float
    ages: tuple[int, int]
    until: float = 0.0
    found: list[Found] = field(default_factory=list)
    ended: bool = False

    @classmethod
    async def begin(
        cls, connection: Connection, space: SpoolSpace, pipeline: str, since: tuple[Horizon, Sequence[Polled]]
    ) -> "Round":
        """Open the transaction; raises TablesChanged and SchemaChanged when tables are not what they were."""
        then, polled = since
        await connection.execute("begin isolation level repeatable read read only")
        # Before the snapshot: to an older one a table that is rewritten meanwhile looks empty.
        locks = [(one.dataset.table, one.dataset.only) for one in polled]
        await connection.execute(asking.lock_tables(locks))
        row = await queries.get_round(connection, since=str(then.xmin))
        now, ages = Horizon(row["snapshot"]), (row["oldest"], row["newest"])
        made = cls(connection, space, pipeline, then, now, row["at"], ages)
        try:
            if now.xmax - then.xmin >= REACH and any(one.by in ("scan", "value") for one in polled):
                raise TablesChanged("more transactions went by than transaction ids of rows can tell apart")
            await _check_columns(connection, polled)
        except BaseException:
            await made.end()
            raise
        return made

    async def end(self) -> None:
        """Let go of the snapshot; safe to call twice."""
        if not self.ended:
            self.ended = True
            with suppress(asyncpg.InterfaceError, OSError):
                await self.connection.execute("rollback")

    def over(self) -> bool:
        """Whether nothing more should be read in this snapshot."""
        return self.ended or asyncio.get_running_loop().time() > self.until

    async def read(self, polled: Sequence[Polled]) -> int:
        """Read what changed in the part of each table that was copied already; gives the number of changes."""
        members = await read_members(self.connection, polled)
        followed = await self._followed(polled)
        for one in polled:
            fresh = members.get(one.oid, frozenset())
            if one.dataset.started:
                # In the log of a database a partition that is attached brings no rows; here they are asked for.
                added = fresh - one.members
                one.members |= fresh
                self.found.append(await self._find(one, added, followed.get(one.oid, False)))
            one.members = fresh
            one.lacking = followed.get(one.oid, False)
            if one.by == "value":
                sql = asking.select_highest(one.dataset.table, one.cursor, only=one.dataset.only)
                one.note_value(self.at, await self.connection.fetchval(sql))
        return sum(one.count + one.emptied for one in self.found)

    async def parts(self) -> AsyncIterator[Part]:
        """Tables emptied, then deletes, children first, then rows, parents first; each part bounded in memory."""
        part: list[Change] = []
        for change in self._changes():
            part.append(change)
            if len(part) >= PART_CHANGES:
                yield part
                part = []
        yield part

    def discard(self) -> None:
        """Free memory and disk."""
        for one in self.found:
            one.discard()

    def _changes(self) -> Iterator[Change]:
        for one in self.found:
            if one.emptied:
                yield Change(one.polled.dataset.shape, Op.TRUNCATE, b"")
        for one in reversed(self.found):
            dataset = one.polled.dataset
            for key in read_rows(one.gone):
                yield delete_of(dataset.shape, key, marked=bool(dataset.table.mark))
        for one in self.found:
            dataset = one.polled.dataset
            for row in read_rows(one.rows):
                yield insert_of(dataset.shape, row, marked=bool(dataset.table.mark))

    async def _find(self, one: Polled, added: frozenset[int], lacking: bool) -> Found:
        found = Found(one, RowBuffer(self.space, _BUFFER_BYTES), RowBuffer(self.space, _BUFFER_BYTES))
        conditions = self._conditions(one, scan=lacking or one.lacking)
        if one.by == "log":
            noted = await self._noted(one)
            found.emptied = noted[1] > 0
            if found.emptied:
                # It may have been one partition alone: the others' rows come again.
                conditions = ["true"]
            elif noted[0]:
                sql = asking.select_gone(one.dataset.table, one.relations, self.then, only=one.dataset.only)
                found.count += await self._copy(sql, found.gone)
            elif not (lacking or one.lacking):
                conditions = []
        conditions += [asking.in_partitions(added)] if added else []
        if conditions:
            dataset = one.dataset
            upto = None if dataset.done else dataset.after
            sql = asking.select_changed(dataset.table, conditions, upto, only=dataset.only)
            found.count += await self._copy(sql, found.rows)
            noted_all = one.by == "log" and not (lacking or one.lacking or added)
            if dataset.table.where and not (noted_all or found.emptied):
                # They may have been inside: what left the filter leaves the target.
                sql = asking.select_outside(dataset.table, conditions, only=dataset.only)
                found.count += await self._copy(sql, found.gone)
        return found

    def _conditions(self, one: Polled, *, scan: bool) -> list[str]:
        scanned = asking.since_scan(*self.ages)
        if one.by == "column":
            return [asking.since_column(one.cursor, self.then)]
        if one.by == "log" and not scan:
            return [asking.among_noted(one.dataset.table, one.relations, self.then)]
        if one.by == "value" and one.bound is not None:
            return [asking.since_value(one.cursor, one.kind, one.bound)]
        return [scanned]

    async def _noted(self, one: Polled) -> tuple[int, int]:
        row = await queries.count_noted(
            self.connection, relations=sorted(one.relations), horizon=str(self.then.xmin), snapshot=self.then.snapshot
        )
        return row["keys"], row["emptied"]

    async def _copy(self, sql: str, into: RowBuffer) -> int:
        # A COPY of a query; asyncpg wraps what it is given in its own COPY.
        status = await self.connection.copy_from_query(sql, output=into.write, format="binary")
        return int(status.split()[-1])

    async def _followed(self, polled: Sequence[Polled]) -> dict[int, bool]:
        """Whether partitions lack triggers, by table; raises TablesChanged when the table itself lost some."""
        noted = [one for one in polled if one.by == "log"]
        if not noted:
            return {}
        rows = await queries.list_followed(self.connection, pipeline=self.pipeline, oids=[one.oid for one in noted])
        marks = {row["relation"]: row["mark"] for row in rows}
        lost = next((one.dataset.name for one in noted if marks.get(one.oid) != one.mark), None)
        if lost is not None:
            raise TablesChanged(f"the triggers that note changes of {lost} were changed")
        return {row["relation"]: row["lacking"] > 0 for row in rows}


async def read_members(connection: Connection, polled: Sequence[Polled]) -> dict[int, frozenset[int]]:
    """The partitions of the tables that have any."""
    rows = await queries.list_members(connection, oids=[one.oid for one in polled])
    return {row["root"]: frozenset(row["members"]) for row in rows}


class Pace:
    """How many rows a chunk has: bounded in bytes, growing while it is read within its time."""

    def __init__(self) -> None:
        self._rows = FIRST_ROWS

    def size(self, dataset: Dataset) -> int:
        """Rows to read next."""
        if not dataset.row_bytes:
            return min(_UNKNOWN_ROWS, self._rows)
        return max(1, min(self._rows, CHUNK_BYTES // dataset.row_bytes))

    def note(self, dataset: Dataset, data: RowBuffer, rows: int, seconds: float) -> None:
        """Learn from a chunk that was read."""
        if rows:
            dataset.row_bytes = max(1, data.size // rows)
        if rows >= self._rows:
            factor = min(2.0, max(0.5, CHUNK_SECONDS / max(seconds, 0.001)))
            self._rows = max(1, min(MOST_ROWS, int(self._rows * factor)))


async def read_chunk(round_: Round, one: Polled, pace: Pace) -> tuple[RowBuffer, int, tuple[str, ...] | None]:
    """The next rows of a table that is being copied, how many, and the key that ends them (None: the last ones)."""
    dataset, connection, began = one.dataset, round_.connection, time.monotonic()
    bound_sql = statements.select_bound(dataset.table, dataset.after, pace.size(dataset), only=dataset.only)
    bound = await connection.fetchrow(bound_sql)
    upto = None if bound is None else tuple(bound)
    data = RowBuffer(round_.space)
    sql = statements.select_rows(dataset.table, dataset.after, upto, only=dataset.only)
    status = await connection.copy_from_query(sql, output=data.write, format="binary")
    rows = int(status.split()[-1])
    pace.note(dataset, data, rows, time.monotonic() - began)
    return data, rows, upto


async def _check_columns(connection: Connection, polled: Sequence[Polled]) -> None:
    there: dict[int, dict[str, int]] = {one.oid: {} for one in polled}
    for row in await queries.list_columns(connection, oids=list(there)):
        there[row["table_oid"]][row["name"]] = row["oid"]
    for one in polled:
        if not there[one.oid]:
            raise TablesChanged(f"{one.dataset.name} is another table than before")
        shape = one.dataset.shape
        lost = [column.name for column in shape.columns if there[one.oid].get(column.name) != column.oid]
        if lost:
            raise SchemaChanged(
                f"{shape.dataset}: column {', '.join(lost)} was dropped, renamed or changed its type",
                dataset=shape.dataset, columns=lost,
            )  # fmt: skip
