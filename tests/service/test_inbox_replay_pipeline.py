"""A replay through a pipeline: the target takes an event once more, under its id."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from tests.conftest import MakeDatabase
from tests.service.inbox import SECRET, SHOP, declare, receiving
from tests.service.stage import Stage
from tests.service.test_inbox_pipeline import ALL, CUSTOMERS, TABLES, inbox, into, post
from tests.service.test_inbox_relay import listening
from tests.waiting import eventually

TIMES = ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00")


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


async def test_a_replayed_event_is_applied_again_under_its_id(
    settings: Settings, stage: Stage, client: httpx2.AsyncClient
) -> None:
    await stage.apply(*stage.systems(), inbox(customers=CUSTOMERS), into())
    async with stage.working():
        first, _ = await post(client, {"customer": {"id": 1, "name": "a"}}, {"customer": {"id": 2, "name": "b"}})
        await stage.arrive(ALL, ["(1,a,,)", "(2,b,,)"])
        await stage.at("target", "update customer set name = 'damaged', event = null")
        token = mint_token(settings, ["events:write"], subject="ada")
        order = {"endpoint": "shop", "path": "customer.id == `1`"}
        answer = await client.post("/replays", json=order, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 202, answer.text
        await stage.arrive(ALL, ["(1,a,,)", "(2,damaged,,)"])
        events = await stage.at("target", "select event::text from customer order by id")
        assert [str(one) for one in events] == [first, "None"]


async def test_a_replay_that_is_asked_for_comes_out_of_a_queue_of_rabbitmq_under_the_id_of_its_event(
    settings: Settings, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    monkeypatch.setenv("AMQP_DSN", rabbitmq)
    get_settings.cache_clear()
    await declare(SHOP)
    async with listening(rabbitmq) as taken, receiving(get_settings()) as client:
        first, second = await post(client, {"customer": {"id": 1}}, {"customer": {"id": 2}})
        await taken.has(2)
        headers = {"Authorization": f"Bearer {mint_token(settings, ['events:write'], subject='ada')}"}
        order = {"endpoint": "shop", "path": "customer.id == `1`"}
        run = (await client.post("/replays", json=order, headers=headers)).json()["id"]

        async def came() -> bool:
            return len(taken.messages) == 3

        await eventually(came)
    told = [(message.message_id, message.routing_key, message.headers.get("run")) for message in taken.messages]
    assert told == [(first, "shop.push", None), (second, "shop.push", None), (first, "shop.push", run)]
    assert taken.messages[2].body == taken.messages[0].body


async def test_times_at_the_end_of_the_calendar_are_refused_or_find_nothing(
    settings: Settings, client: httpx2.AsyncClient
) -> None:
    headers = {"Authorization": f"Bearer {mint_token(settings, ['events:*'], subject='ada')}"}
    for time in TIMES:
        for member in ("since", "until"):
            answer = await client.post(
                "/replays", json={"endpoint": "shop", member: time, "dry_run": True}, headers=headers
            )
            listed = await client.get("/events", params={member: time}, headers=headers)
            assert {answer.status_code, listed.status_code} <= {200, 422}, (answer.text, listed.text)
