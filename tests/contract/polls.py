"""Pipelines that poll, round by round, with every way in which changes are found."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nms.common.flow import Batch, DatasetSpec
from nms.connectors.postgres.poll.opening import OpenedPoll, open_poll
from nms.connectors.postgres.poll.prepare import prepare_source
from tests.contract.pipelines import Connection, MakeDatabase, Pipe, lay, rows_of

WAYS = ("scan", "column", "log", "value")
TABLE = """
create table t (
    id int primary key, v text, x xid8 default pg_current_xact_id(), at timestamptz default clock_timestamp()
);
create index on t (x);
create index on t (at);
create function touch() returns trigger language plpgsql as
$$ begin new.x := pg_current_xact_id(); new.at := clock_timestamp(); return new; end $$;
create trigger touch before insert or update on t for each row execute function touch();
"""
CURSORS = {"column": "x", "value": "at"}


@dataclass
class Rounds:
    """An open poll that the test takes batch by batch."""

    opened: OpenedPoll
    batches: AsyncGenerator[Batch, None]
    begun: bool = False
    applied: int = 0
    copied: int = 0

    async def next(self) -> Batch:
        """The next batch, not applied."""
        return await asyncio.wait_for(anext(self.batches), 90)

    async def apply(self, batch: Batch) -> None:
        """Do with one batch what the worker does."""
        if batch.load is not None or batch.small is None or batch.small:
            await self.opened.target.apply(batch)
            self.applied += batch.changes
            self.copied += batch.load.rows if batch.load is not None else 0
        await self.opened.source.confirm(batch.position)

    async def once(self) -> int:
        """Apply what is left of the copy, or one round begun now; gives the number of its changes."""
        if self.begun:
            self.opened.source.rounds.ask(self.opened.source.rounds.asked + 1)
        self.begun = True
        while True:
            batch = await self.next()
            await self.apply(batch)
            if "tables" not in batch.position:
                return batch.changes


@asynccontextmanager
async def polling(pipe: Pipe) -> AsyncIterator[Rounds]:
    """Open a pipeline that polls; nothing moves but what the test asks for."""
    async with open_poll(pipe.spec) as opened:
        batches = opened.source.batches()
        try:
            yield Rounds(opened, batches)
        finally:
            await batches.aclose()


@asynccontextmanager
async def running(pipe: Pipe, every: float = 0.02) -> AsyncIterator[OpenedPoll]:
    """A pipeline that polls by itself until the block ends; what went wrong is raised there."""
    spec = pipe.spec
    pipe.spec = replace(spec, every=every)
    try:
        async with polling(pipe) as rounds:
            task = asyncio.create_task(_run(rounds))
            try:
                yield rounds.opened
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    finally:
        pipe.spec = spec


@asynccontextmanager
async def lay_poll(
    make_database: MakeDatabase, spool: Path, way: str, ddl: str = TABLE, **options: Any
) -> AsyncIterator[Pipe]:
    """A pipeline over `t` (of id and v) that finds changes in one way; rounds begin when a test says so."""
    fields = {"id": "id", "v": "v"}
    spec = DatasetSpec("public.t", "public.t", fields, cursor=CURSORS.get(way))
    given = {"capture": "poll", "every": 600.0, "change_log": way == "log", **options}
    datasets = given.pop("datasets", (spec,))
    async with lay(make_database, spool, ddl, datasets, **given) as pipe:
        await prepare_source(pipe.spec)
        yield pipe


async def settle(pipe: Pipe, tables: Sequence[str] = ("t",), columns: str = "id, v") -> None:
    """One round more, then fail unless nothing is missed."""
    async with polling(pipe) as rounds:
        await rounds.once()
    await check(pipe, tables, columns)


async def check(pipe: Pipe, tables: Sequence[str] = ("t",), columns: str = "id, v") -> None:
    """Fail unless every row of the source is at the target as it is; rows that are only there are for `log` to tell."""
    for table in tables:
        asked = f"(select {columns} from {table})"
        source, target = await rows_of(pipe.source, asked), await rows_of(pipe.target, asked)
        missed = set(source) - set(target)
        assert not missed, f"{len(missed)} of {table} missed: {sorted(missed)[:5]}"
        assert not pipe.spec.change_log or len(source) == len(target), table


async def _run(rounds: Rounds) -> None:
    async for batch in rounds.batches:
        await rounds.apply(batch)


__all__ = [
    "TABLE",
    "WAYS",
    "Connection",
    "MakeDatabase",
    "Pipe",
    "Rounds",
    "check",
    "lay_poll",
    "polling",
    "running",
    "settle",
]
