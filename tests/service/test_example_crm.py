"""examples/crm-marketing.yaml: two APIs of different shapes into tables, and what a later round asks for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeDatabase
from tests.service.rest_examples import documents, run, tables_of
from tests.service.stage import PREPARE, Stage
from tests.services.hostile.api import HostileApi
from tests.services.hostile.logins import API_KEY, CLIENT_SECRET

NAME = "crm-marketing.yaml"
CUSTOMERS, CAMPAIGNS = 1_000, 400
CUSTOMER = "select row(id, name, segment)::text from public.customer order by id"
CAMPAIGN = "select row(id, title, channel)::text from public.campaign order by id"


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    target = await make_database()
    given = {"EGRESS_ALLOW": "127.0.0.1", "CRM_KEY": API_KEY, "MARKETING_SECRET": CLIENT_SECRET, "LOCAL_DSN": target}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    stage = Stage(get_settings(), "", target)
    await stage.at("target", tables_of(NAME))
    await stage.at("target", PREPARE.read_text())
    yield stage
    await close_egress()


async def equal(stage: Stage, api: HostileApi, name: str, question: str) -> bool:
    records = sorted(api.records(name).values(), key=lambda one: int(one["id"]))
    texts = [f'({one["id"]},"{one["name"]}",{one["group"]})' for one in records]
    return await stage.at("target", question) == texts


def lists(api: HostileApi, since: int) -> list[dict[str, Any]]:
    """The lists that were asked for after a number of the journal."""
    return [one for one in api.requests(since) if one["method"] == "GET"]


async def test_the_first_round_reads_all_and_a_later_one_few_pages(stage: Stage, hostile_api: HostileApi) -> None:
    api = hostile_api
    api.add("customers", count=CUSTOMERS, paging="page", login="header")
    api.add("campaigns", count=CAMPAIGNS, paging="cursor", page_size=50, envelope="campaigns", client_field="code",
            login="bearer")  # fmt: skip
    await stage.apply(*documents(NAME, {"crm": api.url, "marketing": api.url}))
    async with stage.working():
        await run(stage, "customers", "campaigns")
        assert await equal(stage, api, "customers", CUSTOMER)
        assert await equal(stage, api, "campaigns", CAMPAIGN)
        pages = len(lists(api, 0))
        assert pages >= CUSTOMERS // 100 + CAMPAIGNS // 50
        for number in range(1, 4):
            api.write("customers", {"name": f"Changed {number}"}, number)
            api.write("campaigns", {"name": f"Changed {number}"}, number)
        api.write("campaigns", {"name": "New here", "group": 1, "code": "new"})
        before = len(api.requests())
        await run(stage, "customers", "campaigns")
        assert await equal(stage, api, "customers", CUSTOMER)
        assert await equal(stage, api, "campaigns", CAMPAIGN)
        assert len(lists(api, before)) <= 4
