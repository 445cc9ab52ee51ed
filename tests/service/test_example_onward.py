"""examples/webhooks-onward.yaml: customers of a shop come to a CRM, its orders to an exchange, without a table."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from tests.service.inbox import SECRET, receiving
from tests.service.queues import Broker
from tests.service.rest_examples import documents
from tests.service.stage import Stage
from tests.service.test_inbox_queues import Taken
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

NAME = "webhooks-onward.yaml"


@pytest.fixture
async def stage(outbound: Settings, hostile_api: HostileApi, rabbitmq: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for name, value in {"SHOP_HOOK": SECRET, "CRM_KEY": "a-key", "BROKER_DSN": rabbitmq}.items():
        monkeypatch.setenv(name, value)
    hostile_api.add("customers", idempotency=True)
    made = Stage(outbound, "", "")
    await made.apply(*documents(NAME, {"crm": hostile_api.url}))
    return made


@pytest.fixture
async def client(outbound: Settings, stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    async with receiving(outbound) as made:
        yield made


async def tell(client: httpx2.AsyncClient, delivery: int, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    digest = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Delivery": str(delivery)}
    answer = await client.post("/in/shop", content=raw, headers={**headers, "Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text


async def test_customers_come_to_the_api_and_orders_to_the_exchange(
    stage: Stage, client: httpx2.AsyncClient, hostile_api: HostileApi, rabbitmq: str
) -> None:
    taken = Taken()

    async def customers(*wanted: tuple[int, str, str]) -> None:
        async def look() -> bool:
            found = [(one["reference"], one["email"], one["name"]) for one in hostile_api.records("customers").values()]
            return found == list(wanted)

        await eventually(look)

    async with Broker.at(rabbitmq) as broker:
        await broker.declare("orders", "shop")
        await (await broker.channel.get_queue("orders")).consume(taken.take, no_ack=True)
        async with stage.working():
            ada = {"id": 7, "email": "ada@example.com", "name": "Ada"}
            await tell(client, 1, {"type": "customer.updated", "customer": ada})
            await tell(client, 2, {"type": "order.paid", "order": {"id": 1, "total": 9.50, "customer": {"id": 7}}})
            await customers((7, "ada@example.com", "Ada"))
            await tell(client, 3, {"type": "customer.updated", "customer": {"id": 7, "name": "Ada L."}})
            await customers((7, "ada@example.com", "Ada L."))
            await tell(client, 4, {"type": "customer.deleted", "customer": {"id": 7}, "orders": [{"id": 2}, {"id": 3}]})
            await customers()
            await eventually(lambda: three(taken))
    values = [one["data"]["values"] for one in taken.events]
    assert values[0] == {"id": 1, "total": 9.5, "customer": 7, "event": "order.paid"}
    assert [one["id"] for one in values[1:]] == [2, 3]


async def three(taken: Taken) -> bool:
    return len(taken.events) == 3
