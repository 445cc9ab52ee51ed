"""A pipeline that compares, between two databases of one test: round by round, doing what the worker does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nms.common.flow import Batch, ChangeRefused
from nms.connectors.postgres.compare.opening import OpenedCompare, open_compare
from nms.connectors.postgres.config import RuleSpec
from nms.connectors.postgres.connector import DatasetSpec, PipelineSpec
from nms.sync.changes import batch_of
from tests.contract.pipelines import Connection, MakeDatabase, join, rows_of
from tests.waiting import PATIENCE, eventually

OFTEN = 0.01


@dataclass
class Rounds:
    """An open comparison that goes round by round, and what became of its changes."""

    spec: PipelineSpec
    opened: OpenedCompare
    refused: list[ChangeRefused] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    going: "asyncio.Task[None] | None" = None

    async def go(self) -> None:
        """Apply what comes; what the target refuses is kept aside, as the quarantine does."""
        async for batch in self.opened.source.batches():
            self.batches.append(batch)
            await self._apply(batch)
            await self.opened.source.confirm(batch.position)

    async def _apply(self, batch: Batch) -> None:
        changes = list(batch.small or ())
        while True:
            try:
                await self.opened.target.apply(batch_of(batch.position, changes))
            except ChangeRefused as refused:
                self.refused.append(refused)
                changes = [one for one in changes if one is not refused.change]
            else:
                return

    async def pass_round(self, count: int = 2, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for so many more rounds to end (a second one has begun after now); gives the facts then."""
        wanted = self.opened.source.rounds + count

        async def look() -> bool:
            if self.going is not None and self.going.done():
                await self.going
            return self.opened.source.rounds >= wanted

        await eventually(look, seconds)
        return self.opened.facts()


@asynccontextmanager
async def going(spec: PipelineSpec) -> AsyncIterator[Rounds]:
    """Open a comparison and let it go until the block ends; what went wrong is raised there."""
    async with open_compare(spec) as opened:
        rounds = Rounds(spec, opened)
        rounds.going = asyncio.create_task(rounds.go())
        try:
            yield rounds
        finally:
            rounds.going.cancel()
            with suppress(asyncio.CancelledError):
                await rounds.going


@dataclass
class Two:
    """Two databases with a connection to each, and what a comparison between them is opened with."""

    spec: PipelineSpec
    source: Connection
    target: Connection

    async def equal(self, *tables: str) -> None:
        """Fail unless the tables of both sides have the same rows."""
        for table in tables:
            assert await rows_of(self.target, table) == await rows_of(self.source, table), table

    async def run(self, *tables: str) -> dict[str, Any]:
        """Go for some rounds, then compare tables; gives the facts of the end."""
        async with going(self.spec) as rounds:
            facts = await rounds.pass_round()
            assert not rounds.refused, rounds.refused
        await self.equal(*tables)
        return facts


@asynccontextmanager
async def two(
    ends: tuple[str, str], spool: Path, ddl: str, datasets: Sequence[str | DatasetSpec], **options: Any
) -> AsyncIterator[Two]:
    """Two new databases (DSNs) that both get these tables, to be compared; options are those of PipelineSpec."""
    async with join(ends, spool, ddl, datasets, **{"capture": "compare", "every": OFTEN, **options}) as pipe:
        yield Two(pipe.spec, pipe.source, pipe.target)


@asynccontextmanager
async def apart(
    make_database: MakeDatabase, spool: Path, ddl: str, datasets: Sequence[str | DatasetSpec], **options: Any
) -> AsyncIterator[Two]:
    """As `two`, between two new databases of the test's server."""
    async with two((await make_database(), await make_database()), spool, ddl, datasets, **options) as made:
        yield made


def rule(take: str = "status", **when: str | Sequence[str | None] | None) -> RuleSpec:
    """Rows with these values on one side take a field of the other side's."""
    values = {name: (one,) if one is None or isinstance(one, str) else tuple(one) for name, one in when.items()}
    return RuleSpec(tuple(values.items()), (take,))
