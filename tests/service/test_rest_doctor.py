"""`nms doctor` on a pipeline from an API: both ends are looked at, nothing is changed, the way out is told."""

import pytest

from tests.service.rest_stage import IDS, api, begin, pull, things
from tests.service.stage import Stage
from tests.services.hostile.api import HostileApi


@pytest.fixture
def stage(api_stage: Stage) -> Stage:
    return api_stage


async def findings(stage: Stage) -> list[tuple[str, str]]:
    """Code and pointer of what stands in the way of the pipeline `items`."""
    [told] = await stage.answer("doctor", "items")
    return [(one["code"], one["pointer"]) for one in told["findings"] if one["fatal"]]


async def test_both_ends_of_a_pull_are_looked_at_and_nothing_is_changed(stage: Stage, hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=30)
    await begin(stage, api(hostile_api.url), pull())
    assert await findings(stage) == []
    await stage.at("target", "alter table public.things drop constraint things_pkey")
    await begin(stage, api(hostile_api.url, {"things": things(records="rows")}), pull())
    found = await findings(stage)
    assert ("records-missing", "/datasets/0/source") in found
    assert any(pointer.startswith("/datasets/0") and code != "records-missing" for code, pointer in found)
    assert await stage.at("target", IDS) == []
    assert {one["method"] for one in hostile_api.requests()} == {"GET"}
