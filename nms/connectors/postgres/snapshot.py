"""Reading what was there before the capture: chunk by chunk, each in one snapshot between two marks (DESIGN 4.3)."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

from nms.common import faults
from nms.common.change import Shape
from nms.common.rows import write_rows
from nms.connectors.postgres import statements
from nms.connectors.postgres.catalog import Connection, queries, read_tables
from nms.connectors.postgres.layouts import relation_of
from nms.connectors.postgres.libpq import Command, Libpq, Statement
from nms.connectors.postgres.pgoutput import Relation, Sent
from nms.connectors.postgres.problems import SchemaChanged
from nms.connectors.postgres.spool import RowBuffer, SpoolSpace
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.window import Snapshot

CHUNK_SECONDS = 1.0
CHUNK_BYTES = 24 << 20
_FIRST_ROWS = 5_000
_UNKNOWN_ROWS = 200
_UNKNOWN_BYTES = 256
_LEAST_ROWS = 500
_MOST_ROWS = 500_000
_SETTLE_POLL = 0.05
_THROTTLE_POLL = 0.2
_LONGEST_PAUSE = 1.0


@dataclass(slots=True)
class Dataset:
    """A table being read: its shape, how to name it in SQL, what is done.

    `sent` is what the log sends of it; `version` grows when it must be read in another way or from the start.
    """

    name: str
    shape: Shape
    table: TargetTable
    only: bool
    estimate: int
    row_bytes: int
    after: tuple[str, ...] | None = None
    rows: int = 0
    started: bool = False
    done: bool = False
    repairs: set[bytes] = field(default_factory=set)
    sent: tuple[Sent, ...] = ()
    oid: int = 0
    sweep: bool = False
    paused: bool = False
    version: int = 0

    @property
    def settled(self) -> bool:
        """Whether nothing is left to read, or nothing shall be."""
        return self.paused or (self.done and not self.repairs)

    def copy_again(self) -> None:
        """Read everything once more; changes are applied meanwhile."""
        self.done, self.after, self.rows, self.started = False, None, 0, True
        self.version += 1


@dataclass(slots=True)
class Chunk:
    """Rows of one dataset in one snapshot: after a key and up to another (None: to the end), or of certain keys.

    `found` is the table as it was then, where it was not as the shape has it: nothing was read.
    """

    token: str
    dataset: Dataset
    shape: Shape
    version: int
    after: tuple[str, ...] | None
    upto: tuple[str, ...] | None
    snapshot: Snapshot
    data: RowBuffer
    rows: int
    keys: tuple[bytes, ...] = ()
    found: Relation | None = None


class Backfill:
    """Reads the chunks of all datasets, one at a time; `current` is the one between its marks.

    Whoever reads the stream calls `decide` at a chunk's high mark; only then the next chunk is read.
    """

    def __init__(self, connection: Connection, libpq: Libpq, datasets: list[Dataset], space: SpoolSpace) -> None:
        self._connection = connection
        self._libpq = libpq
        self._space = space
        self._decided: asyncio.Future[bool] | None = None
        self._rows = _FIRST_ROWS
        self._count = 0
        self.datasets = datasets
        self.current: Chunk | None = None
        self.waiting_for = 0
        self.throttle: Callable[[], bool] = lambda: False
        self.lose: Callable[[Dataset], None] = lambda _: None
        self.over = False

    @property
    def done(self) -> bool:
        """Whether every dataset has been read."""
        return all(dataset.settled for dataset in self.datasets)

    def decide(self, *, again: bool, missed: int = 0) -> None:
        """Say whether the current chunk is good or must be read again, and how many commits it should have seen."""
        self.waiting_for = missed
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(again)

    async def close(self) -> None:
        """Close the connection that only the copy needs; safe to call twice."""
        await self._libpq.close()

    async def run(self, session: str) -> None:
        """Read everything; returns when all is read."""
        try:
            await self._settle()
            while not (self.done or self.over):
                await self._read_all(session)
        finally:
            self.over = True
            await self.close()

    async def _read_all(self, session: str) -> None:
        for dataset in self.datasets:
            while not (dataset.done or dataset.paused or self.over):
                await self._read(session, dataset, ())
        for dataset in self.datasets:
            if dataset.repairs and not (dataset.paused or self.over):
                await self._read(session, dataset, tuple(dataset.repairs))

    async def _settle(self) -> None:
        # A commit is in the log before it is visible. One that is in the log before our start and becomes visible
        # only after a chunk's snapshot would be in neither; so those in progress now must end first.
        running = await queries.list_running(self._connection)
        while running:
            self.waiting_for = await queries.count_running(self._connection, xids=running)
            if not self.waiting_for:
                return
            await asyncio.sleep(_SETTLE_POLL)

    async def _read(self, session: str, dataset: Dataset, keys: tuple[bytes, ...]) -> None:
        while self.throttle():  # noqa: ASYNC110 - the log shrinks at the source, no event tells
            await asyncio.sleep(_THROTTLE_POLL)
        again, pause = True, 0.0
        while again and not dataset.paused:
            await asyncio.sleep(pause)
            pause = min(max(2 * pause, _SETTLE_POLL), _LONGEST_PAUSE)
            self._count += 1
            token = f"{session}:{self._count}"
            self._decided = asyncio.get_running_loop().create_future()
            await queries.insert_message(self._connection, prefix="nms.low", content=f"{token}:{dataset.name}")
            began, asked = time.monotonic(), self._size(dataset)
            try:
                self.current = await (
                    self._read_keys(token, dataset, keys) if keys else self._read_range(token, dataset)
                )
            except (asyncpg.UndefinedTableError, SchemaChanged):
                self.lose(dataset)
                return
            self._tune(self.current, asked, time.monotonic() - began)
            faults.point("backfill.after_read")
            await queries.insert_message(self._connection, prefix="nms.high", content=token)
            again = await self._decided
        self.current = None

    async def _read_range(self, token: str, dataset: Dataset) -> Chunk:
        connection, table = self._connection, dataset.table
        shape, version = dataset.shape, dataset.version
        data = RowBuffer(self._space)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Before the snapshot: to an older one a table that is rewritten or emptied meanwhile looks empty.
            await connection.execute(statements.lock_table(table, only=dataset.only))
            snapshot = Snapshot.parse(await queries.get_snapshot(connection))
            found = await self._find_other(dataset)
            if found is not None:
                return self._unread(token, dataset, snapshot, found)
            upto = None
            if table.key:
                sql = statements.select_bound(table, dataset.after, self._size(dataset), only=dataset.only)
                bound = await connection.fetchrow(sql)
                upto = None if bound is None else tuple(bound)
            # A COPY of a query; asyncpg wraps what it is given in its own COPY.
            sql = statements.select_rows(table, dataset.after, upto, only=dataset.only)
            status = await connection.copy_from_query(sql, output=data.write, format="binary")
        rows = int(status.split()[-1])
        return Chunk(token, dataset, shape, version, dataset.after, upto, snapshot, data, rows)

    async def _find_other(self, dataset: Dataset) -> Relation | None:
        """The table, while it is locked, if it is not as it is being read."""
        rows = await queries.list_sent(self._connection, oid=dataset.oid)
        now = [(row["name"], row["oid"], row["modifier"]) for row in rows]
        if now == [(one.name, one.oid, one.modifier) for one in dataset.sent]:
            return None
        tables = await read_tables(self._connection, [dataset.name])
        return relation_of(tables[dataset.name])

    def _unread(self, token: str, dataset: Dataset, snapshot: Snapshot, found: Relation) -> Chunk:
        empty, at = RowBuffer(self._space), dataset.after
        return Chunk(token, dataset, dataset.shape, dataset.version, at, at, snapshot, empty, 0, (), found)

    async def _read_keys(self, token: str, dataset: Dataset, keys: tuple[bytes, ...]) -> Chunk:
        # Rows whose key moved while their base was not yet at the target: read whole, by their new keys.
        types = tuple(25 if dataset.table.text_form else dataset.shape.columns[at].oid for at in dataset.shape.key)
        shape, version = dataset.shape, dataset.version
        name = f"repair_{self.datasets.index(dataset)}_{version}"
        statement = Statement(name, statements.select_key(dataset.table, only=dataset.only), types)
        rows: list[tuple[bytes, ...]] = []
        await self._libpq.query("begin isolation level repeatable read read only")
        await self._libpq.query(statements.lock_table(dataset.table, only=dataset.only))
        ((text,),) = await self._libpq.query(statements.READ_SNAPSHOT)
        found = await self._find_other(dataset)
        for key in keys if found is None else ():
            rows += await self._libpq.fetch(Command.of_key(statement, key))
        await self._libpq.query("commit")
        data = RowBuffer(self._space)
        for block in write_rows(rows):
            data.add(block)
        snapshot = Snapshot.parse(text or "")
        at = dataset.after
        return Chunk(token, dataset, shape, version, at, at, snapshot, data, len(rows), keys, found)

    def _size(self, dataset: Dataset) -> int:
        if not dataset.row_bytes:
            return _UNKNOWN_ROWS
        return max(1, min(self._rows, CHUNK_BYTES // max(dataset.row_bytes, 1)))

    def _tune(self, chunk: Chunk, asked: int, seconds: float) -> None:
        if chunk.rows:
            chunk.dataset.row_bytes = max(1, chunk.data.size // chunk.rows)
        elif not chunk.keys:
            # All were outside of the filter: what a row takes is still unknown, and yet there is work to be sped up.
            chunk.dataset.row_bytes = chunk.dataset.row_bytes or _UNKNOWN_BYTES
        if chunk.rows >= asked or (chunk.upto is not None and not chunk.keys):
            factor = min(2.0, max(0.5, CHUNK_SECONDS / max(seconds, 0.001)))
            self._rows = int(min(_MOST_ROWS, max(_LEAST_ROWS, self._rows * factor)))
