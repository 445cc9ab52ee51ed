"""Pipelines that go both ways, through documents and a worker: both sides end alike, and then nothing is written."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.connectors.postgres.twoway.opening import PREPARE
from tests.conftest import MakeDatabase
from tests.service.rest_stage import api, begin, make_stage, things
from tests.service.stage import Stage
from tests.service.storm import FIELDS, Storm, alike, rounds, written
from tests.services.hostile.api import HostileApi

WRITES = {
    "create": {"method": "PUT", "path": "/things/{id}"},
    "update": {"method": "PATCH", "path": "/things/{id}"},
    "delete": {"method": "DELETE", "path": "/things/{id}"},
    "precondition": "etag",
}


def both(**parts: Any) -> dict[str, Any]:
    """The document of a two-way pipeline between the resource and the table `things`."""
    return {
        "kind": "pipeline", "name": "items", "source": "api", "target": "target", "capture": "pull", "every": "1s",
        "direction": "two-way", "datasets": [{"source": "things", "target": "public.things", "fields": FIELDS}],
        **parts,
    }  # fmt: skip


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("SYNC_LEASE", "1")
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    stage = await make_stage(get_settings(), await make_database())
    await stage.at("target", PREPARE)
    yield stage
    await close_egress()


@pytest.mark.parametrize("back", ["log", "poll"])
async def test_both_sides_follow_each_other(stage: Stage, hostile_api: HostileApi, back: str) -> None:
    hostile_api.add("things", count=5, upsert=True, etag="strong")
    await stage.at("target", "insert into public.things values (9, 'here', 'only here', 1)")
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), both(back=back))
    async with stage.working():
        await alike(stage, hostile_api)
        assert hostile_api.records("things")[9]["name"] == "only here"
        await stage.at("target", "update public.things set name = 'ours' where id = 1")
        await stage.at("target", "delete from public.things where id = 2")
        await stage.at("target", "insert into public.things values (20, 'new', null, 3)")
        hostile_api.write("things", {"name": "theirs"}, 3)
        hostile_api.write("things", {"name": "created there"})
        await alike(stage, hostile_api)
        names = {number: record["name"] for number, record in hostile_api.records("things").items()}
        assert names[1] == "ours"
        assert names[3] == "theirs"
        assert names[10] == "created there"
        assert sorted(names) == [1, 3, 4, 5, 9, 10, 20]


@pytest.mark.parametrize("policy", ["merge", "source", "newest"])
async def test_a_storm_of_edits_ends_with_both_sides_alike_and_nothing_more_written(
    stage: Stage, hostile_api: HostileApi, policy: str
) -> None:
    hostile_api.add("things", count=20, upsert=True, etag="strong", rewrite=["trim", "lower"])
    rules = {"policy": policy, **({"newest": "group"} if policy == "newest" else {})}
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), both(every="500ms", conflicts=rules))
    async with stage.working():
        await alike(stage, hostile_api)
        storm = Storm(stage, hostile_api, 20)
        await storm.blow(4.0, 0.05)
        await rounds(stage, 2)
        before = await written(stage, hostile_api)
        await rounds(stage, 2)
        assert await written(stage, hostile_api) == before
        await alike(stage, hostile_api, 1)
        found = await stage.answer("conflicts", "list", "items")
        assert found
        assert {one["outcome"] for one in found} <= {"merged", "source", "target"}
        if policy == "merge":
            assert await storm.lost() == []
