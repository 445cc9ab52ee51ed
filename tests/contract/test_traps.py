"""Whatever a source did while nobody read it, both ends are the same in the end, and nothing was refused."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nms.common.change import NULL, Change
from nms.common.flow import ChangeRefused
from nms.connectors.postgres import pgoutput
from nms.connectors.postgres.pgoutput import Decoder, Layout
from nms.connectors.postgres.transactions import Assembler
from tests.contract.pipelines import join
from tests.contract.traps.run import LATE, SYNCED, TABLES, TEXT_FORM, Runner, read_traps, set_limits
from tests.fuzz.extent import Extent
from tests.services.postgres import PostgresServer
from tests.services.shared import Session

VERSIONS = ("15", "16", "18")


async def spring(ends: tuple[str, str], spool: Path, seed: int, *only: str) -> None:
    """Run the traps (all, or only these) once, and compare both ends."""
    rand = random.Random(seed)
    text = rand.random() < 0.4
    tables = [*SYNCED, "moods"] if text else list(SYNCED)
    traps = [trap for trap in read_traps() if not only or trap.name in only]
    with pytest.MonkeyPatch.context() as patch:
        set_limits(rand, patch)
        async with join(ends, spool, TABLES + TEXT_FORM * text, tables) as pipe:
            pipe.spec = replace(pipe.spec, batch_changes=rand.choice((1, 50, 20_000)), heals=rand.random() < 0.5)
            await pipe.source.execute(LATE.format(name=ends[0].rsplit("/", 1)[1]))
            async with Runner.begin(pipe, rand) as runner:
                beside = not only and rand.random() < 0.5
                await (runner.begin_to_copy() if beside else runner.copy(tables))
                await runner.run(traps, live=seed not in at_lag(seed + 1))
            await pipe.compare(*tables)


def at_lag(count: int) -> list[int]:
    """The seeds that run while the pipeline is stopped; one in five runs beside the worker."""
    return [seed for seed in range(count) if seed % 5 != 4]


@asynccontextmanager
async def ends_of(left: PostgresServer, right: PostgresServer) -> AsyncIterator[tuple[str, str]]:
    """Two new databases."""
    ends = (await left.create_database(), await right.create_database())
    yield ends
    # Kept after a failure, which may have left prepared transactions behind; the server goes with the session.
    for server, dsn in zip((left, right), ends, strict=True):
        await server.drop_database(dsn.rsplit("/", 1)[1])


@pytest.mark.fuzz
@pytest.mark.parametrize("version", VERSIONS)
async def test_traps_sprung_at_lag_leave_both_ends_the_same(
    version: str, services: Session, extent: Extent, tmp_path: Path
) -> None:
    left = services.postgres(version)
    count = extent.choose(1, 10)
    told = f"traps: {count} times {len(read_traps())} from PostgreSQL {version}, {len(at_lag(count))} times at lag"
    with extent.telling(told):
        for seed in range(count):
            right = services.postgres(VERSIONS[(VERSIONS.index(version) + seed) % 3])
            try:
                async with ends_of(left, right) as ends:
                    await spring(ends, tmp_path, seed)
            except Exception as error:
                error.add_note(f"seed {seed} from {version} to {right.version}")
                raise


async def test_a_table_is_emptied_behind_checks_that_wait_for_the_commit(pg18: PostgresServer, tmp_path: Path) -> None:
    # A server refuses to empty a table while checks of its rows wait: two transactions of the source are no one then.
    async with ends_of(pg18, pg18) as ends, join(ends, tmp_path, TABLES, SYNCED) as pipe:
        await pipe.run("tree")
        for request in ("insert into tree values (1, null, 'a'), (2, 1, 'b')", "truncate tree", "truncate late, tree"):
            await pipe.source.execute(request)
        await pipe.source.execute("insert into tree values (1, 1, 'after')")
        await pipe.run("tree")


async def test_tables_are_emptied_together_though_one_of_them_is_not_copied_yet(
    pg18: PostgresServer, tmp_path: Path
) -> None:
    ddl = "create table parent (id int primary key); create table child (id int primary key references parent)"
    async with ends_of(pg18, pg18) as ends, join(ends, tmp_path, ddl, ["parent", "child"]) as pipe:
        await pipe.source.execute("insert into parent values (1); insert into child values (1)")
        async with pipe.steps() as steps:
            while not steps.opened.datasets[0].done:
                await steps.apply(await steps.next())
            assert not steps.opened.datasets[1].started
        await pipe.source.execute("truncate parent cascade")
        await pipe.source.execute("insert into parent values (2); insert into child values (2)")
        await pipe.run("parent", "child")


def forget_rollbacks(patch: pytest.MonkeyPatch) -> None:
    abort = Assembler._stream_abort

    def forget(assembler: Assembler, payload: bytes) -> None:
        abort(assembler, payload)
        for stream in assembler._streams.values():
            stream.aborted.clear()

    patch.setattr(Assembler, "_stream_abort", forget)


def forget_truncates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Decoder, "_truncate", lambda *_: None)


def forget_big_values(patch: pytest.MonkeyPatch) -> None:
    read = pgoutput.read_fields

    def forget(payload: bytes, at: int, width: int) -> tuple[list[bytes | None], int]:
        fields, at = read(payload, at, width)
        return [NULL if value is None else value for value in fields], at

    patch.setattr(pgoutput, "read_fields", forget)


def forget_old_keys(patch: pytest.MonkeyPatch) -> None:
    update = pgoutput._READ[pgoutput.UPDATE]

    def forget(layout: Layout, payload: bytes, at: int) -> Change | None:
        change = update(layout, payload, at)
        if change is not None:
            change.old_key = None
        return change

    patch.setitem(pgoutput._READ, pgoutput.UPDATE, forget)


Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[Plant, str] = {
    forget_rollbacks: "streamed sub-transactions, some of them rolled back",
    forget_truncates: "several tables truncated at once",
    forget_big_values: "values too big for a row, untouched and touched",
    forget_old_keys: "chains of key changes",
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
async def test_a_trap_catches_an_engine_that_forgets(
    plant: Plant, pg18: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    async with ends_of(pg18, pg18) as ends:
        with pytest.raises((AssertionError, ChangeRefused)):
            await spring(ends, tmp_path, 3, PLANTS[plant])
