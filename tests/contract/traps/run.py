"""Runs the trap script at a source while its pipeline is stopped, in an order and with stops drawn from a seed."""

import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nms.connectors.postgres import snapshot, source, target, transactions
from nms.connectors.postgres.connector import Opened
from nms.connectors.postgres.wal import parse_lsn
from tests.contract.pipelines import MESSAGE, Connection, Pipe

HERE = Path(__file__).parent
TABLES = (HERE / "tables.sql").read_text()
ROWS = (HERE / "rows.sql").read_text()
SYNCED = (
    "plain", "toasted", "keyed", "parent", "child", "grandchild", "tree", "left_ring", "right_ring", "landlord", "late",
    "taken", "spread", "whole", "coded", "nameless", "rare", "scarce",
)  # fmt: skip
TEXT_FORM = "create type mood as enum ('sad', 'happy'); create table moods (id int primary key, m mood[]);"
# Rows of tables that refer to each other are copied table by table: the circle is closed once they are there.
CIRCLE = "alter table left_ring add foreign key (other) references right_ring deferrable initially deferred"
LATE = "alter database {name} set logical_decoding_work_mem = '64kB'"


@dataclass
class Trap:
    """A named part of the script: requests, each with where it goes (empty: the first session at the source)."""

    name: str
    requests: list[tuple[str, str]] = field(default_factory=list)


def read_traps() -> list[Trap]:
    """The traps of the script."""
    parts = re.split(r"^-- trap: ", (HERE / "script.sql").read_text(), flags=re.M)[1:]
    return [Trap(name, list(_requests(body))) for name, _, body in (part.partition("\n") for part in parts)]


def _requests(body: str) -> Iterator[tuple[str, str]]:
    for paragraph in re.split(r"\n\s*\n", body.strip()):
        found = re.fullmatch(r"(?:--: (\w+)\n?)?(.*)", paragraph.strip(), re.S)
        assert found is not None
        yield found[1] or "", found[2].strip()


def set_limits(rand: random.Random, patch: pytest.MonkeyPatch) -> None:
    """Make batches exact or staged, parts small, transactions large, as the seed says."""
    patch.setattr(target, "EXACT_LIMIT", rand.choice((0, 40, 400)))
    patch.setattr(transactions, "LARGE_BYTES", rand.choice((0, 3000, 4 << 20)))
    size = rand.choice((20, 1000))
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        patch.setattr(snapshot, name, size)
    patch.setattr(source, "PART_CHANGES", rand.choice((60, 500, 10_000)))


class Runner:
    """Runs traps; the pipeline between both ends is stopped but for moments.

    Of its sessions one takes part in the traps, one stays beside them.
    """

    def __init__(self, pipe: Pipe, rand: random.Random, second: Connection, aside: Connection) -> None:
        self._pipe = pipe
        self._rand = rand
        self._second = second
        self._aside = aside
        self._live: Opened | None = None

    @classmethod
    @asynccontextmanager
    async def begin(cls, pipe: Pipe, rand: random.Random) -> AsyncIterator["Runner"]:
        """A runner with sessions of its own."""
        second, aside = await pipe.connect(), await pipe.connect()
        try:
            yield cls(pipe, rand, second, aside)
        finally:
            await second.close()
            await aside.close()

    async def copy(self, tables: Sequence[str]) -> None:
        """Copy the tables, empty but for a few rows, before the traps."""
        await self._pipe.run(*tables)
        for end in (self._pipe.source, self._pipe.target):
            await end.execute(CIRCLE)

    async def begin_to_copy(self) -> None:
        """Fill the tables and leave most of the copying to be done beside the traps."""
        await self._pipe.source.execute(ROWS)
        await self._move_a_little()

    async def run(self, traps: Sequence[Trap], *, live: bool) -> None:
        """Run traps in an order of the seed while the pipeline is stopped, or `live` beside it; then catch up."""
        async with AsyncExitStack() as stack:
            if live:
                self._live = await stack.enter_async_context(self._pipe.moves())
            for trap in self._rand.sample(traps, len(traps)):
                await self._spring(trap)
            if not live:
                await stack.enter_async_context(self._pipe.moves())
            await self._pipe.catch_up(60)

    async def _spring(self, trap: Trap) -> None:
        for to, request in trap.requests:
            try:
                await self._send(to, request)
            except Exception as error:
                error.add_note(f"in the trap: {trap.name}: {to} {request[:200]}")
                raise

    async def _send(self, to: str, request: str) -> None:
        pipe = self._pipe
        if to == "stop":
            await (self._move_a_little() if self._live is None else self._aside.execute(MESSAGE))
        elif to == "copy":
            await _copy(pipe.source, request)
        elif to == "second":
            await self._second.execute(request)
        else:
            if to in ("target", "both"):
                await pipe.target.execute(request)
            if to in ("", "both"):
                await pipe.source.execute(request.replace("{name}", pipe.spec.name))

    async def _move_a_little(self) -> None:
        """Apply some batches; the last of them may stay unconfirmed, as after a crash."""
        mark = parse_lsn(await self._aside.fetchval(MESSAGE))
        async with self._pipe.steps() as steps:
            for _ in range(self._rand.randrange(12)):
                batch = await steps.next()
                if self._rand.random() < 0.2:
                    await steps.opened.target.apply(batch)
                    return
                await steps.apply(batch)
                if self._pipe.place > mark:
                    return


async def _copy(session: Connection, request: str) -> None:
    """Copy rows of a number and a word: `table (columns) first count`."""
    found = re.fullmatch(r"(\w+) \((.*)\) (\d+) (\d+)", request)
    assert found is not None
    first, count = int(found[3]), int(found[4])
    columns = found[2].split(", ")
    rows = [tuple(f"copied {n}\t\\" if one == "v" else n for one in columns) for n in range(first, first + count)]
    await session.copy_records_to_table(found[1], records=rows, columns=columns)


__all__ = ["LATE", "SYNCED", "TABLES", "TEXT_FORM", "Runner", "read_traps", "set_limits"]
