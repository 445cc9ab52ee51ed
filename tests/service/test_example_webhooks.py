"""examples/webhooks.yaml: bodies of customers and campaigns land in their tables, once in effect whoever dies."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.rest_examples import documents, tables_of
from tests.service.role_process import running
from tests.service.stage import PREPARE, Stage
from tests.service.test_kafka_pipelines import worker_process

NAME = "webhooks.yaml"
SECRET = "the-secret-of-the-sender"
CUSTOMERS = "select concat_ws(' ', id, email, name, more ->> 'city') from public.customers order by id"
CAMPAIGNS = "select concat_ws(' ', id, customer_id, title, budget) from public.campaigns order by id"
COUNTING = """
create table public.seen (event uuid);
create function public.note() returns trigger language plpgsql as
    $$ begin insert into public.seen values (new.event); return new; end $$;
create trigger note after insert or update on public.customers for each row execute function public.note()
"""


def signed(raw: bytes, delivery: str) -> dict[str, str]:
    """The headers of a delivery of now."""
    now = str(int(time.time()))
    digest = hmac.new(SECRET.encode(), f"{delivery}.{now}.".encode() + raw, hashlib.sha256).hexdigest()
    return {
        "X-Signature": digest,
        "X-Delivery": delivery,
        "X-Timestamp": now,
        "Content-Type": "application/json",
    }


class Sender:
    """Somebody who signs what it sends."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.sent = 0

    async def send(self, body: Any, delivery: str = "") -> tuple[int, str]:
        """Status and event of an answer; another delivery each time where none is named."""
        self.sent += 1
        raw = json.dumps(body).encode()
        headers = signed(raw, delivery or f"delivery-{self.sent}")
        answer = await self.post(raw, headers)
        return answer.status_code, answer.json().get("id", answer.text)

    async def post(self, raw: bytes, headers: dict[str, str]) -> httpx2.Response:
        """The answer to a request as it is."""
        return await self._client.post("/webhook", content=raw, headers=headers)


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    target = await make_database()
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("CRM_DSN", target)
    monkeypatch.setenv("SYNC_LEASE", "1")
    made = Stage(settings, "", target)
    await made.at("target", tables_of(NAME))
    await made.at("target", PREPARE.read_text())
    await made.apply(*documents(NAME, {}))
    return made


@pytest.fixture
async def sender(stage: Stage, tmp_path: Path) -> AsyncIterator[Sender]:
    environment = {name: os.environ[name] for name in ("DB_NMS_DSN", "WEBHOOK_SECRET")}
    async with (
        running("nms.inbox.main:app", tmp_path, environment=environment) as role,
        httpx2.AsyncClient(base_url=role.address) as client,
    ):
        yield Sender(client)


async def test_customers_and_campaigns_come_change_and_go(stage: Stage, sender: Sender) -> None:
    async with stage.working():
        ada = {"id": 7, "email": "ada@example.com", "name": "Ada", "more": {"city": "London"}}
        status, event = await sender.send({"customer": ada}, "one")
        assert status == 202
        await sender.send({"campaign": {"id": 1, "customer": {"id": 7}, "title": "Spring", "budget": 1000.50}})
        await stage.arrive(CUSTOMERS, ["7 ada@example.com Ada London"])
        await stage.arrive(CAMPAIGNS, ["1 7 Spring 1000.50"])
        assert [str(one) for one in await stage.at("target", "select event from customers")] == [event]
        assert await stage.at(
            "target", "select received_at between now() - interval '1 h' and now() from customers"
        ) == [True]
        # A new delivery changes what it has, the same one once more nothing at all.
        await sender.send({"customer": {"id": 7, "name": "Ada L."}, "campaign": {"id": 2, "title": "Both"}})
        assert await sender.send({"customer": ada}, "one") == (200, event)
        await sender.send({"type": "campaign.deleted", "campaign": {"id": 1}})
        await sender.send({"customer": {"id": 8}})
        await stage.arrive(CUSTOMERS, ["7 ada@example.com Ada L. London", "8"])
        await stage.arrive(CAMPAIGNS, ["2 Both"])
        await sender.send({"customer": {"id": 7, "deleted": True}})
        await stage.arrive(CUSTOMERS, ["8"])


async def test_who_saw_a_delivery_cannot_send_it_again_as_another_one(sender: Sender) -> None:
    raw = b'{"customer": {"id": 7}}'
    seen = signed(raw, "one")
    answers = [await sender.post(raw, {**seen, "X-Delivery": delivery}) for delivery in ("one", "two")]
    assert [answer.status_code for answer in answers] == [202, 401]


async def test_a_worker_that_is_killed_loses_and_doubles_nothing(stage: Stage, sender: Sender, tmp_path: Path) -> None:
    await stage.at("target", COUNTING)
    deliveries = 0

    async def deliver() -> None:
        nonlocal deliveries
        for _ in range(5):
            number, deliveries = deliveries, deliveries + 1
            body = {"customer": {"id": number, "name": f"n{number}"}, "campaign": {"id": number}}
            answers = [await sender.send(body, f"d{number}") for _ in range(2)]
            assert [status for status, _ in answers] == [202, 200]

    for fault in ("apply.after_commit=kill@3", "apply.before_commit=kill@3"):
        async with worker_process(tmp_path / "log", fault) as process:
            while process.poll() is None:
                await deliver()
                await asyncio.sleep(0)
            assert process.returncode == -signal.SIGKILL
    async with worker_process(tmp_path / "log"):
        await stage.arrive("select count(*) from customers", [deliveries])
        await stage.arrive("select count(*) from campaigns", [deliveries])
    assert await stage.at("target", "select count(*) - count(distinct event) from seen") == [0]
    assert await stage.at("target", "select count(*) from seen") == [deliveries]
