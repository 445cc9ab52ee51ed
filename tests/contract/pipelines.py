"""A pipeline between two databases of one test: opened by the connector itself, moved to its end or step by step."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from nms.common.flow import Batch
from nms.connectors.postgres.connector import Access, DatasetSpec, Opened, PipelineSpec, open_pipeline
from nms.connectors.postgres.snapshot import Backfill, Chunk, Dataset
from nms.connectors.postgres.wal import parse_lsn
from tests.waiting import PATIENCE, eventually

PREPARE = Path(__file__).parents[2] / "nms/connectors/postgres/prepare.sql"
MESSAGE = "select pg_logical_emit_message(true, 'test', '')::text"
PINNED = {"search_path": "public", "timezone": "UTC", "datestyle": "ISO", "intervalstyle": "postgres"}
Connection = Any
MakeDatabase = Callable[[], Awaitable[str]]


@dataclass
class Pipe:
    """Both ends of a pipeline with a connection to each, and what a moving pipeline did."""

    spec: PipelineSpec
    source: Connection
    target: Connection
    place: int = 0
    copied: int = 0
    loads: int = 0
    copying: bool = True
    moving: "asyncio.Task[None] | None" = None
    opened: Opened | None = None
    batches: list[Batch] = field(default_factory=list)

    async def connect(self) -> Connection:
        """One more session at the source."""
        return await connect(self.spec.source.dsn)

    @asynccontextmanager
    async def moves(self) -> AsyncIterator[Opened]:
        """Open the pipeline and move what comes until the block ends; what went wrong is raised there."""
        async with open_pipeline(self.spec) as opened:
            self.opened, self.copying = opened, opened.copying
            self.moving = asyncio.create_task(self._move(opened))
            try:
                yield opened
            finally:
                self.moving.cancel()
                with suppress(asyncio.CancelledError):
                    await self.moving

    @asynccontextmanager
    async def steps(self) -> AsyncIterator["Steps"]:
        """Open the pipeline and move nothing but what the test asks for."""
        async with open_pipeline(self.spec) as opened:
            self.opened = opened
            batches = opened.source.batches()
            steps = Steps(self, opened, batches)
            try:
                yield steps
            finally:
                await steps.leave()

    async def catch_up(self, seconds: float = PATIENCE) -> None:
        """Wait until everything is copied and everything written so far is at the target."""
        mark = parse_lsn(await self.source.fetchval(MESSAGE))
        await self.until(lambda: self.place > mark and not self.copying, seconds)

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for a state of the moving pipeline; a pipeline that ended is told at once."""

        async def look() -> bool:
            if self.moving is not None and self.moving.done():
                await self.moving
            return condition()

        await eventually(look, seconds)

    async def run(self, *tables: str) -> None:
        """Copy and catch up, then compare tables."""
        async with self.moves():
            await self.catch_up()
        await self.compare(*tables)

    async def compare(self, *tables: str) -> None:
        """Fail unless the tables of both ends have the same rows."""
        for table in tables:
            assert await rows_of(self.target, table) == await rows_of(self.source, table), table

    async def apply(self, opened: Opened, batch: Batch) -> None:
        """Do with one batch what the worker does."""
        if batch.load is not None or batch.small is None or batch.small or batch.keep:
            await opened.target.apply(batch)
        if batch.load is not None:
            self.loads += 1
            self.copied += batch.load.rows
        self.copying = "tables" in batch.position
        await opened.source.confirm(batch.position)
        self.place = max(self.place, parse_lsn(batch.position["lsn"]))

    async def _move(self, opened: Opened) -> None:
        async for batch in opened.source.batches():
            await self.apply(opened, batch)


@dataclass
class Steps:
    """A pipeline that takes one batch at a time."""

    pipe: Pipe
    opened: Opened
    batches: AsyncGenerator[Batch, None]
    asked: "asyncio.Future[Batch] | None" = None
    chunk: Chunk | None = None
    empty_since: float = field(default_factory=time.monotonic)

    async def next(self) -> Batch:
        """The next batch, not applied; fails where for long none had anything in it: heartbeats go on for ever."""
        asked, self.asked = self.asked or asyncio.ensure_future(anext(self.batches)), None
        batch = await asyncio.wait_for(asked, PATIENCE)
        if batch.small is None or batch.small or batch.load is not None or batch.keep:
            self.empty_since = time.monotonic()
        assert time.monotonic() - self.empty_since < PATIENCE, "nothing comes but heartbeats"
        return batch

    async def apply(self, batch: Batch) -> None:
        """Apply and confirm a batch."""
        await self.pipe.apply(self.opened, batch)

    async def leave(self) -> None:
        """Take nothing more."""
        if self.asked is not None:
            self.asked.cancel()
            await asyncio.gather(self.asked, return_exceptions=True)
        await self.batches.aclose()
        await self.opened.close()

    async def past(self, mark: str) -> None:
        """Apply batches until the position has passed an LSN."""
        while self.pipe.place <= parse_lsn(mark):
            await self.apply(await self.next())

    async def hold(self, connection: Connection, table: str) -> bool:
        """Take batches until the reading of the next chunk waits for a lock that the test holds on the table."""
        # The look at the publications waits for the table, too.
        sql = (
            "select count(*) from pg_locks join pg_stat_activity using (pid)"
            " where relation = $1::regclass and not granted and query like 'lock table%'"
        )

        async def look() -> bool:
            if self.asked is None:
                self.asked = asyncio.ensure_future(anext(self.batches))
            if self.asked.done():
                await self.apply(await self.next())
            return bool(await connection.fetchval(sql, table))

        return await eventually(look)

    async def until_read(self) -> None:
        """Wait until the next chunk stands between its marks; nothing is taken from the stream for that."""
        backfill = self.opened.source.backfill
        assert backfill is not None

        async def look() -> bool:
            return backfill.current is not None and backfill.current is not self.chunk

        await eventually(look)
        self.chunk = backfill.current


async def connect(dsn: str) -> Connection:
    """A session that finds tables in `public` and shows values in one form on every server."""
    return await asyncpg.connect(dsn, server_settings=PINNED)


@asynccontextmanager
async def join(
    ends: tuple[str, str], spool: Path, ddl: str, datasets: Sequence[str | DatasetSpec], **options: Any
) -> AsyncIterator[Pipe]:
    """A pipeline between two new databases (DSNs) that both get these tables; options are those of PipelineSpec."""
    source, target = ends
    left, right = await connect(source), await connect(target)
    try:
        await left.execute(ddl)
        await right.execute(ddl)
        await right.execute(PREPARE.read_text())
        yield Pipe(make_spec(source, target, spool, datasets, **options), left, right)
    finally:
        await left.close()
        await right.close()


@asynccontextmanager
async def lay(
    make_database: MakeDatabase, spool: Path, ddl: str, datasets: Sequence[str | DatasetSpec], **options: Any
) -> AsyncIterator[Pipe]:
    """As `join`, between two new databases of the test's server."""
    ends = (await make_database(), await make_database())
    async with join(ends, spool, ddl, datasets, **options) as pipe:
        yield pipe


@asynccontextmanager
async def gate(monkeypatch: pytest.MonkeyPatch, between: Callable[[Chunk], Awaitable[None]]) -> AsyncIterator[None]:
    """Do something at every chunk between its reading and its high mark."""
    read = Backfill._read_range

    async def gated(backfill: Backfill, token: str, dataset: Dataset) -> Chunk:
        chunk = await read(backfill, token, dataset)
        await between(chunk)
        return chunk

    with monkeypatch.context() as patch:
        patch.setattr(Backfill, "_read_range", gated)
        yield


def make_spec(
    source: str, target: str, spool: Path, datasets: Sequence[str | DatasetSpec], **options: Any
) -> PipelineSpec:
    """What `open_pipeline` takes, with the defaults of a pipeline document."""
    name = "p" + source.rsplit("/", 1)[-1].replace("-", "_")
    spec = PipelineSpec(
        name=name,
        slot=f"nms_{name}",
        source=Access("left", source),
        target=Access("right", target),
        datasets=tuple(one if isinstance(one, DatasetSpec) else dataset(one) for one in datasets),
        generation=1,
        copy=True,
        heals=True,
        batch_changes=20_000,
        wal_budget=4 << 30,
        spool=spool / "spool",
        spool_budget=1 << 30,
    )
    return replace(spec, **options)


def dataset(name: str) -> DatasetSpec:
    """A table that goes to the table of its name; names without a schema are of `public`."""
    full = name if "." in name else f"public.{name}"
    return DatasetSpec(full, full)


async def rows_of(connection: Connection, table: str) -> list[str]:
    """Every row of a table as text, in order."""
    return [row[0] for row in await connection.fetch(f"select t::text from {table} t order by 1")]
