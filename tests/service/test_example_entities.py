"""examples/jsonplaceholder.yaml and webhooks-entities.yaml: an API both ways with entities, webhooks into entities."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from tests.service.inbox import receiving
from tests.service.rest_examples import documents
from tests.service.stage import Stage
from tests.service.test_example_webhooks import SECRET, Sender
from tests.service.warehouse import serving
from tests.services.node import NodeServer
from tests.waiting import eventually

SCOPES = ("entities:read", "entities:write", "pipelines:write", "tasks:read")
NAMES = ("posts", "comments")


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def stage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    get_settings.cache_clear()
    assert settings.db_dwh_dsn is not None
    yield Stage(get_settings(), "", settings.db_dwh_dsn.get_secret_value())
    await close_egress()


async def local(stage: Stage) -> dict[str, dict[int, Any]]:
    """The entities, as the warehouse serves them."""
    found = {name: await stage.at("target", f"select _json from entity.{name}") for name in NAMES}
    return {name: {one["id"]: one for one in map(orjson.loads, texts)} for name, texts in found.items()}


def remote(server: NodeServer) -> dict[str, dict[int, Any]]:
    return {name: {one["id"]: one for one in server.data[name]} for name in NAMES}


async def test_what_is_written_over_rest_follows_at_the_api_until_every_record_is_equal(
    stage: Stage, json_server: NodeServer
) -> None:
    await stage.apply(*documents("jsonplaceholder.yaml", {"jsonplaceholder": json_server.url}))

    async def equal() -> bool:
        return await local(stage) == remote(json_server)

    async with serving(stage.settings, *SCOPES) as client, stage.working():
        place = (await client.post("/sync/jsonplaceholder")).headers["location"]

        async def ended() -> bool:
            return (await client.get(place)).json()["state"] in ("succeeded", "failed")

        await eventually(ended)
        assert (await client.get(place)).json()["state"] == "succeeded"
        assert len((await local(stage))["comments"]) == 500
        assert await equal()
        post = {"id": 101, "userId": 1, "title": "Made here", "body": "Not there before"}
        assert (await client.post("/posts", json=post)).status_code == 201
        assert (await client.patch("/posts/1", json={"title": "Changed"})).status_code == 200
        assert (await client.delete("/comments/21")).status_code == 204
        assert len((await local(stage))["comments"]) == 499
        await eventually(equal)
    assert remote(json_server)["posts"][101]["title"] == "Made here"
    assert remote(json_server)["posts"][1]["title"] == "Changed"


async def test_webhooks_of_customers_and_campaigns_land_in_their_entities(stage: Stage) -> None:
    await stage.apply(*documents("entities.yaml", {}), *documents("webhooks-entities.yaml", {}))
    customers = "select concat_ws(' ', id, email, _source, _raw ->> 'city') from entity.customers order by id"
    async with serving(stage.settings, *SCOPES), receiving(stage.settings) as client, stage.working():
        sender = Sender(client)

        async def built() -> bool:
            return (await stage.at("target", "select count(*) from warehouse.entity where state = 'ready'")) == [5]

        await eventually(built)
        assert (await sender.send({"customer": {"id": 7, "email": "ada@example.com", "city": "London"}}))[0] == 202
        await sender.send({"campaign": {"id": 1, "name": "Spring", "budget": 1000.50, "startsOn": "2026-03-01"}})
        await stage.arrive(customers, ["7 ada@example.com inbox London"])
        await stage.arrive("select budget::text from entity.campaigns", ["1000.50"])
        await sender.send({"customer": {"id": 7, "deleted": True}})
        await stage.arrive(customers, [])
