"""What a remote forbids to two-way pipelines: a record is held, a login that may not write at all is told."""

from collections.abc import AsyncIterator

import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.connectors.postgres.twoway.opening import PREPARE
from tests.conftest import MakeDatabase
from tests.service.rest_stage import make_stage
from tests.service.stage import Stage
from tests.service.storm import alike
from tests.service.test_twoway_outcomes import has, settled, start
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch, hostile_api: HostileApi
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    hostile_api.add("things", count=3, upsert=True, etag="strong")
    stage = await make_stage(get_settings(), await make_database())
    await stage.at("target", PREPARE)
    yield stage
    await close_egress()


@pytest.mark.parametrize("method", ["PATCH", "GET"])
async def test_a_record_that_is_forbidden_is_held_alone(stage: Stage, hostile_api: HostileApi, method: str) -> None:
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        hostile_api.plan("403", path="/things/1$", method=method)
        await stage.at("target", "update public.things set name = 'edited' where id in (1, 2)")
        await has(hostile_api, 2, "edited")
        await stage.at("target", "update public.things set name = 'other' where id = 3")
        await has(hostile_api, 3, "other")

        async def refused() -> bool:
            return len(await stage.answer("quarantine", "list", "items")) == 1

        await eventually(refused)
        (held,) = await stage.answer("quarantine", "list", "items")
        assert (held["key"], held["problem"]["code"]) == ("1", "write-forbidden")
        (change,) = await stage.answer("changes", "list", "items", "--state", "refused")
        assert (change["key"], change["method"], change["path"], change["status"]) == ("1", method, "/things/1", 403)


@pytest.mark.parametrize("method", ["PATCH", "GET"])
async def test_a_login_that_may_not_write_holds_no_table(stage: Stage, hostile_api: HostileApi, method: str) -> None:
    async def told() -> bool:
        return ((await stage.get()).problem or {}).get("code") == "write-fails"

    await stage.at("target", "insert into public.things select n, 'r', 'here', 1 from generate_series(50, 70) n")
    await start(stage, hostile_api)
    async with stage.working():
        await alike(stage, hostile_api)
        await settled(stage)
        hostile_api.plan("403", path=r"/things/\d+$", method=method)
        await stage.at("target", "update public.things set name = 'edited'")
        await eventually(told)
        assert await stage.answer("quarantine", "list", "items") == []
        hostile_api.unplan()
        await alike(stage, hostile_api)
