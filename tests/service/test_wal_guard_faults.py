"""The guard of the source's disk in trouble: a resync beside it, a slot that stays held, a source that hangs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from nms.common.settings import Settings
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.problems import SlotBusy
from nms.connectors.postgres.retention import Retained, measure_slots, release_slot
from nms.sync import guard
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline
from tests.service.test_wal_guard import SLOTS, WRITE_80_MB
from tests.waiting import PATIENCE, eventually

MAKE = "select pg_create_logical_replication_slot('nms_items', 'pgoutput')::text"
DROP = "select pg_drop_replication_slot('nms_items')::text"
RELEASES = "select count(*) from common.outbox where payload ->> 'pipeline' = 'items' and type like '%released%'"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(guard, "GUARD_SECONDS", 0.1)
    made = await Stage.set(settings, await make_database(), await make_database())
    await made.at("source", MAKE)
    await made.at("source", WRITE_80_MB)
    return made


@asynccontextmanager
async def guarding() -> AsyncIterator[None]:
    """The guard at work, and no worker."""
    stop = asyncio.Event()
    task = asyncio.create_task(guard.guard(await SyncRepository.open(), stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


async def test_a_slot_made_anew_since_it_was_measured_is_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    measured, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(access: Access, slots: Sequence[str]) -> list[Retained]:
        nonlocal looks
        looks += 1
        found = await measure_slots(access, slots)
        measured.set()
        await go_on.wait()
        return found

    async def looked_again() -> bool:
        return looks > 2

    monkeypatch.setattr(guard, "measure_slots", slowly)
    await stage.begin(wal_budget="64MB", wal_policy="release")
    async with guarding():
        await asyncio.wait_for(measured.wait(), PATIENCE)
        await stage.nms("resync", "items", "--yes")
        await stage.at("source", DROP)
        await stage.at("source", MAKE)
        go_on.set()
        await eventually(looked_again)
    assert await stage.at("source", SLOTS) == ["nms_items"]
    assert (await stage.get()).problem is None


async def test_a_slot_that_cannot_be_dropped_yet_is_told_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def held(access: Access, name: str) -> None:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise SlotBusy("slot nms_items is held by process 1 of another login")
        await release_slot(access, name)

    async def given_up() -> bool:
        return await stage.at("source", SLOTS) == []

    monkeypatch.setattr(guard, "release_slot", held)
    await stage.begin(wal_budget="64MB", wal_policy="release")
    async with guarding():
        await eventually(given_up)
    assert tries == 4
    assert await (await SyncRepository.open()).connection.fetchval(RELEASES) == 1


@pytest.mark.parametrize("fault", ["hangs", "fails"])
async def test_a_source_in_trouble_keeps_no_other_from_being_judged(
    stage: Stage, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    async def troubled(access: Access, slots: Sequence[str]) -> list[Retained]:
        if access.system == "away" and fault == "hangs":
            await asyncio.Event().wait()
        if access.system == "away":
            raise RuntimeError("a bug")
        return await measure_slots(access, slots)

    async def given_up() -> bool:
        return await stage.at("source", SLOTS) == []

    monkeypatch.setattr(guard, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(guard, "measure_slots", troubled)
    await stage.apply(
        *stage.systems(source=stage.source, target=stage.target, away=await make_database()),
        pipeline("items", wal_budget="64MB", wal_policy="release"),
        pipeline("away", "public.other", source="away"),
    )
    async with guarding():
        await eventually(given_up)
