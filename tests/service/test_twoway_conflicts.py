"""Records that both sides of a pipeline changed or removed: decided by policy or by somebody, kept, never in a loop."""

from typing import Any

import pytest

from nms.connectors.postgres.twoway.opening import PREPARE
from tests.service.rest_stage import api, begin, things
from tests.service.stage import Stage
from tests.service.storm import alike, differences, rounds
from tests.service.test_twoway import WRITES, both
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually


@pytest.fixture
def stage(api_stage: Stage) -> Stage:
    return api_stage


async def start(stage: Stage, remote: HostileApi, resource: dict[str, Any], **parts: Any) -> None:
    await stage.at("target", PREPARE)
    await begin(stage, api(remote.url, {"things": things(**resource)}), both(every="500ms", **parts))


async def conflicts(stage: Stage, count: int, state: str) -> list[dict[str, Any]]:
    """So many conflicts in a state, once they are there."""

    async def look() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = await stage.answer("conflicts", "list", "items", "--state", state)
        return found if len(found) == count else None

    return await eventually(look)


async def test_an_edit_wins_over_a_deletion_and_a_deletion_alone_follows(stage: Stage, hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=6, upsert=True)
    await start(stage, hostile_api, {"writes": WRITES, "sweep": {"every": "500ms", "grace": "1ms"}})
    async with stage.working():
        await alike(stage, hostile_api)
        await stage.nms("pause", "items")
        await stage.reach("paused")
        hostile_api.delete("things", 1)
        hostile_api.delete("things", 2)
        await stage.at("target", "update public.things set name = 'kept' where id = 2")
        await stage.at("target", "delete from public.things where id in (3, 4)")
        hostile_api.write("things", {"name": "kept too"}, 4)
        hostile_api.delete("things", 5)
        await stage.at("target", "delete from public.things where id = 5")
        await stage.nms("resume", "items")
        found = await conflicts(stage, 2, "settled")
        await rounds(stage, 3)
        await alike(stage, hostile_api)
        assert {(*one["key"], one["kind"]) for one in found} == {("2", "deleted-at-source"), ("4", "deleted-at-target")}
        assert {number: record["name"] for number, record in hostile_api.records("things").items()} == {
            2: "kept", 4: "kept too", 6: "Name 6",
        }  # fmt: skip


async def test_what_waits_is_left_alone_until_somebody_decides(stage: Stage, hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=3, upsert=True, etag="strong")
    await start(stage, hostile_api, {"writes": WRITES}, conflicts={"policy": "manual"})
    async with stage.working():
        await alike(stage, hostile_api)
        await stage.nms("pause", "items")
        await stage.reach("paused")
        hostile_api.write("things", {"name": "theirs", "reference": "theirs"}, 1)
        await stage.at("target", "update public.things set name = 'ours' where id = 1")
        await stage.nms("resume", "items")
        (one,) = await conflicts(stage, 1, "open")
        assert one["source"]["name"] == "theirs"
        await stage.at("target", "update public.things set name = 'ours again' where id = 1")

        async def folded() -> bool:
            return bool((await stage.answer("conflicts", "show", one["id"]))["target"]["name"] == "ours again")

        await eventually(folded)
        await rounds(stage, 2)
        assert len(await differences(stage, hostile_api)) == 1
        await stage.nms("conflicts", "resolve", one["id"], "--field", "name=target")
        await alike(stage, hostile_api)
        assert hostile_api.records("things")[1]["name"] == "ours again"
        assert hostile_api.records("things")[1]["reference"] == "theirs"
        (one,) = await conflicts(stage, 1, "settled")
        assert one["outcome"] == "decided"
        refused = await stage.nms("conflicts", "resolve", one["id"], "--take", "source")
        assert "conflict-settled" in refused.stderr


async def test_a_remote_that_forgets_is_told_once_and_not_asked_again(stage: Stage, hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=3, upsert=True, forgets=True)
    await start(stage, hostile_api, {"writes": {**WRITES, "verify": True}})
    async with stage.working():
        await rounds(stage, 1)
        await stage.at("target", "update public.things set name = 'forgotten' where id = 1")
        await stage.at("target", "insert into public.things values (9, 'new', 'new', 1)")
        await stage.at("target", "delete from public.things where id = 2")
        found = await conflicts(stage, 3, "settled")
        assert {(*one["key"], one["kind"], one["outcome"]) for one in found} == {
            (key, "unkept", "unkept") for key in ("1", "2", "9")
        }
        sent = len(hostile_api.journal.effects)
        await rounds(stage, 3)
        assert len(hostile_api.journal.effects) == sent == 3
        assert await stage.at("target", "select name from public.things order by id") == ["forgotten", "Name 3", "new"]


async def test_the_doctor_makes_what_both_ways_need(stage: Stage, hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=3, upsert=True, etag="strong")
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), both())
    async with stage.working():
        await stage.reach("halted")
        told = await stage.nms("doctor", "items")
        assert "create table if not exists nms.base" in told.stdout
        told = await stage.nms("doctor", "items", "--prepare")
        assert told.exit_code == 0, told.stdout + told.stderr
        await alike(stage, hostile_api)
        told = await stage.nms("doctor", "items")
        assert told.exit_code == 0, told.stdout
