"""The inbox as a source: what endpoints received arrives in tables, in order and once in effect."""

import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.inbox import SECRET, SHOP, receiving, send
from tests.service.stage import Stage, pipeline

TABLES = """
create table public.customer (id bigint primary key, name text, total numeric, event uuid, kind text);
create table public.campaign (id bigint primary key, name text, customer_id bigint)
"""
CUSTOMERS = {
    "endpoint": "shop",
    "records": "customer",
    "key": ["id"],
    "deleted": "deleted",
    "derive": {"kind": "kinds[0]"},
}
FIELDS = {"id": "id", "name": "name", "total": "total", "kind": "kind", "$event.id": "event"}
ALL = "select c::text from (select id, name, total, kind from public.customer order by id) c"
_numbers = count(1)


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    made = await Stage.set(settings, await make_database(), await make_database())
    await made.at("target", TABLES)
    return made


@pytest.fixture
async def client(settings: Settings, stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    await stage.apply(SHOP)
    async with receiving(settings) as made:
        yield made


def inbox(**resources: Any) -> dict[str, Any]:
    named = {name.replace("_", "-"): one for name, one in resources.items()}
    return {"kind": "system", "name": "hooks", "type": "inbox", "resources": named}


def into(*datasets: dict[str, Any], **parts: Any) -> dict[str, Any]:
    made = datasets or ({"source": "customers", "target": "public.customer", "fields": FIELDS},)
    return pipeline("in") | {"source": "hooks", "capture": "feed", "datasets": list(made)} | parts


async def post(client: httpx2.AsyncClient, *bodies: Any) -> list[str]:
    """Send events; gives their ids."""
    ids = []
    for body in bodies:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await send(client, raw, f"delivery-{next(_numbers)}")
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
    return ids


async def test_records_of_events_are_written_changed_and_deleted(stage: Stage, client: httpx2.AsyncClient) -> None:
    await stage.apply(*stage.systems(), inbox(customers=CUSTOMERS), into())
    async with stage.working():
        (first,) = await post(client, b'{"customer": {"id": 1, "name": "a", "total": 1.10, "kinds": ["x", "y"]}}')
        await stage.arrive(ALL, ["(1,a,1.10,x)"])
        assert [str(one) for one in await stage.at("target", "select event from customer")] == [first]
        await post(client, {"customer": {"id": 2, "name": "b"}}, {"customer": {"id": 1, "total": 2}}, {"other": 5})
        await stage.arrive(ALL, ["(1,a,2,x)", "(2,b,,)"])
        await post(client, {"customer": {"id": 1, "deleted": True}}, {"customer": [{"id": 3}, {"id": 2, "name": "c"}]})
        await stage.arrive(ALL, ["(2,c,,)", "(3,,,)"])
