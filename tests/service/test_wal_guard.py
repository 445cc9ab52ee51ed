"""The guard of the source's disk: what a slot retains is told in time, and by policy given up."""

import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.connectors.postgres.twoway.opening import PREPARE
from nms.sync import guard
from nms.sync.models import Pipeline
from tests.conftest import MakeDatabase
from tests.service.rest_stage import api, begin, make_stage, things
from tests.service.stage import Stage
from tests.service.storm import alike
from tests.service.test_twoway import WRITES, both
from tests.services.hostile.api import HostileApi
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

SLOTS = "select slot_name::text from pg_replication_slots where database = current_database()"
WRITE_80_MB = (
    "select length(pg_logical_emit_message(false, 'test', repeat('x', 4194304))::text) from generate_series(1, 20)"
)


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(guard, "GUARD_SECONDS", 0.2)
    return await Stage.set(settings, await make_database(), await make_database())


async def test_a_pipeline_that_stands_still_raises_the_alarm_before_the_disk_fills(
    stage: Stage, server: PostgresServer
) -> None:
    async def alarmed() -> Pipeline | None:
        found = await stage.get()
        return found if found.alarm is not None else None

    async def calm() -> bool:
        return (await stage.get()).alarm is None

    async with stage.working():
        await stage.begin(wal_budget="64MB")
        await stage.reach("streaming")
        await stage.nms("pause", "items")
        await stage.reach("paused")
        assert await calm()
        await stage.at("source", WRITE_80_MB)
        found = await eventually(alarmed)
        assert found.alarm is not None
        assert found.alarm["code"] == "wal-over-budget"
        assert found.alarm["retained"] > found.alarm["budget"] * guard.ALARM_SHARE, "told while there is still room"
        (shown,) = await stage.answer("pipelines")
        assert "MB of log for items" in shown["alarm"]["detail"]
        assert await stage.at("source", SLOTS) == ["nms_items"], "the policy is to tell"
        await stage.nms("resume", "items")

        async def moved_on() -> bool:
            # The server moves a slot with records of its own, every 15 s unless asked.
            await server.execute("select pg_log_standby_snapshot()")
            return await calm()

        await eventually(moved_on, 60)


async def test_by_policy_the_slot_is_given_up_and_a_resync_heals(stage: Stage) -> None:
    async with stage.working():
        await stage.begin(wal_budget="64MB", wal_policy="release")
        await stage.reach("streaming")
        await stage.at("source", "insert into public.item values (1, 'one')")
        await stage.arrive("select id from public.item", [1])
        await stage.nms("pause", "items")
        await stage.reach("paused")
        await stage.at("source", "insert into public.item values (2, 'two')")
        await stage.at("source", WRITE_80_MB)

        async def given_up() -> bool:
            return await stage.at("source", SLOTS) == []

        await eventually(given_up)
        found = await stage.get()
        assert found.problem is not None
        assert found.problem["code"] == "slot-released"
        answer = await stage.answer("resync", "items", "--yes")
        assert answer["cost"][0]["rows"] == 2, "a resync says what it costs"
        await stage.arrive("select id from public.item order by id", [1, 2])
        assert (await stage.reach("streaming")).problem is None


async def test_a_pipeline_at_work_is_halted_by_name_when_its_slot_is_given_up(stage: Stage) -> None:
    async with stage.working():
        await stage.begin(wal_budget="64MB", wal_policy="release")
        await stage.reach("streaming")
        # A target that takes nothing: the pipeline is at work and cannot go on.
        await stage.at(
            "target", "alter table public.item add constraint slow check (pg_sleep(30) is not null) not valid"
        )
        await stage.at("source", "insert into public.item values (1, 'one')")
        await stage.at("source", WRITE_80_MB)
        halted = await stage.reach("halted", seconds=20)
        assert halted.problem is not None
        assert halted.problem["code"] == "slot-released"

        async def given_up() -> bool:
            return await stage.at("source", SLOTS) == []

        # Told first, then given up.
        await eventually(given_up, 20)


async def test_the_slot_of_a_pipeline_that_goes_both_ways_is_guarded_at_its_target(
    settings: Settings, make_database: MakeDatabase, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "GUARD_SECONDS", 0.2)
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    stage = await make_stage(get_settings(), await make_database())
    await stage.at("target", PREPARE)
    hostile_api.add("things", count=2, upsert=True, etag="strong")
    document = both(wal_budget="64MB", wal_policy="release")
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), document)

    async def given_up() -> bool:
        return await stage.at("target", SLOTS) == []

    async with stage.working():
        await alike(stage, hostile_api)
        assert await stage.at("target", SLOTS) == ["nms_items"]
        await stage.nms("pause", "items")
        await stage.reach("paused")
        await stage.at("target", WRITE_80_MB)
        await eventually(given_up)
        assert ((await stage.get()).problem or {})["code"] == "slot-released"
        await stage.at("target", "update public.things set name = 'while away' where id = 1")
        await stage.answer("resync", "items", "--yes")
        await alike(stage, hostile_api)
    await close_egress()
