"""Chunks are flushed together: a target that crashes loses some of them, with their position, and no change."""

import asyncio

import pytest

from nms.common.flow import Applied, Batch
from nms.common.settings import Settings
from nms.connectors.postgres import snapshot, target
from nms.connectors.postgres.target import PostgresTarget
from nms.sync.models import Pipeline
from tests.conftest import MakeDatabase, MakeServer
from tests.service.stage import Stage
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

ROWS = 200_000
LAZY = {"wal_writer_delay": "10s", "wal_writer_flush_after": "2GB", "wal_buffers": "128MB"}
DIGEST = "select md5(string_agg(i::text, ',' order by id)) from public.item i"


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[Stage, PostgresServer]:
    # Only a flush of ours makes a commit durable here, and that comes at the end of the copy.
    server = await make_server("18", settings=LAZY)
    made = await Stage.set(settings, await make_database(), await server.create_database())
    monkeypatch.setattr(snapshot, "_MOST_ROWS", 2_000)
    monkeypatch.setattr(target, "LOADS_A_FLUSH", 1_000)
    await made.at("source", f"insert into public.item select n, 'old' from generate_series(1, {ROWS}) n")
    await made.begin()
    return made, server


async def some_copied(stage: Stage) -> None:
    async def look() -> bool:
        return bool((await stage.at("target", "select count(*) > 10000 from public.item"))[0])

    await eventually(look)


async def test_a_target_that_crashes_in_the_copy_gets_every_row(stage: tuple[Stage, PostgresServer]) -> None:
    made, server = stage
    async with made.working():
        await some_copied(made)
        assert not told_progress(await made.get()), "nothing is taken for durable before it is"
        await asyncio.to_thread(server.end, "immediate")
        await asyncio.to_thread(server.launch)

        async def alike() -> bool:
            return await made.at("target", DIGEST) == await made.at("source", DIGEST)

        await made.reach("streaming", seconds=60)
        await eventually(alike)


async def test_a_chunk_taken_for_durable_too_soon_would_be_seen(
    stage: tuple[Stage, PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_early_confirmation(monkeypatch)
    async with stage[0].working():
        await some_copied(stage[0])

        async def told() -> bool:
            return told_progress(await stage[0].get())

        await eventually(told)


def plant_early_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every chunk for durable, as if it had been flushed."""
    write = PostgresTarget.apply

    async def hasty(self: PostgresTarget, batch: Batch) -> Applied:
        applied = await write(self, batch)
        applied.durable = True
        return applied

    monkeypatch.setattr(PostgresTarget, "apply", hasty)


def told_progress(found: Pipeline) -> bool:
    """Whether the pipeline has said that some of the table is at the target for good."""
    tables = (found.position or {}).get("tables", {})
    return any(state.get("after") for state in tables.values())
