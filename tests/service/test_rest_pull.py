"""Resources of a REST API become rows: every record arrives, in every style of paging."""

from collections.abc import AsyncIterator

import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeDatabase
from tests.service.rest_stage import FOLLOWING, IDS, api, begin, make_stage, pull, things
from tests.service.stage import Stage
from tests.services.hostile.api import HostileApi


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("SYNC_LEASE", "1")
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    yield await make_stage(get_settings(), await make_database())
    await close_egress()


@pytest.mark.parametrize("paging", FOLLOWING)
async def test_every_record_arrives(stage: Stage, hostile_api: HostileApi, paging: str) -> None:
    hostile_api.add("things", count=250, paging=paging, page_size=20)
    await begin(stage, api(hostile_api.url, {"things": things(paging)}), pull())
    async with stage.working():
        await stage.arrive(IDS, list(range(1, 251)))
