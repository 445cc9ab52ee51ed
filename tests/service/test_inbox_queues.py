"""Webhooks that go to queues and topics: in order per key, none lost, and told apart where one comes twice."""

import json
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from aio_pika.abc import AbstractIncomingMessage

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.inbox import SECRET, SHOP, receiving
from tests.service.queues import Broker
from tests.service.remote_writes import work_until_killed
from tests.service.stage import Stage, pipeline
from tests.service.test_amqp_pipeline import systems
from tests.service.test_inbox_pipeline import inbox, post
from tests.service.topics import collect
from tests.services.kafka import KafkaServer
from tests.waiting import eventually

FIELDS = {"id": "reference", "name": "name", "more": "more", "$event.id": "event"}
RECORDS = {"endpoint": "shop", "records": "item", "deleted": "gone", "key": ["id"]}


class Taken:
    """What came out of a queue, in order."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def take(self, message: AbstractIncomingMessage) -> None:
        self.events.append(json.loads(message.body))

    def told(self) -> list[tuple[str, str | None]]:
        """Operation and name of each."""
        return [(one["data"]["op"], one["data"].get("values", {}).get("name")) for one in self.events]

    async def has(self, *told: tuple[str, str | None]) -> None:
        """Wait until this and nothing else has come."""

        async def look() -> bool:
            return self.told() == list(told)

        await eventually(look)


@pytest.fixture
async def stage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    monkeypatch.setenv("SYNC_LEASE", "1")
    made = Stage(settings, "", "")
    await made.apply(SHOP, inbox(items=RECORDS))
    return made


@pytest.fixture
async def client(settings: Settings, stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    async with receiving(settings) as made:
        yield made


@pytest.fixture
async def taken(stage: Stage, rabbitmq: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Taken]:
    made = Taken()
    broker = systems(stage, rabbitmq, monkeypatch)[-1]
    async with Broker.at(rabbitmq) as at:
        await at.declare("items", "shop")
        await (await at.channel.get_queue("items")).consume(made.take, no_ack=True)
        await stage.apply(broker, out("broker", "shop/items"))
        yield made


def out(target: str, address: str) -> dict[str, Any]:
    datasets = [{"source": "items", "target": address, "fields": FIELDS}]
    return pipeline("out") | {"source": "hooks", "target": target, "capture": "feed", "datasets": datasets}


def item(number: int | str, **more: Any) -> dict[str, Any]:
    return {"item": {"id": number, **more}}


async def test_a_record_of_an_event_is_a_message_with_the_fields_that_it_has(
    stage: Stage, client: httpx2.AsyncClient, taken: Taken
) -> None:
    async with stage.working():
        (first, *_) = await post(
            client, item("a\0", name="a", more={"size": [1.50, None]}), item(2), item(2, gone=True)
        )
        await taken.has(("update", "a"), ("update", None), ("delete", None))
        data = [one["data"] for one in taken.events]
        assert data[0]["values"] == {"reference": "a\0", "name": "a", "more": {"size": [1.5, None]}, "event": first}
        assert data[1]["values"].keys() == {"reference", "event"}
        assert data[2]["key"] == {"reference": 2}
        assert [one["subject"] for one in taken.events] == ["a\ufffd", "2", "2"]
        assert {one["source"] for one in taken.events} == {"/nms/hooks/items"}


async def test_a_whole_record_without_a_key_is_a_message_of_its_own(
    stage: Stage, client: httpx2.AsyncClient, taken: Taken
) -> None:
    whole = {"endpoint": "shop", "records": "item", "derive": {"body": "@"}}
    datasets = [{"source": "items", "target": "shop", "fields": {"body": "body", "$event.type": "type"}}]
    await stage.apply(inbox(items=whole), out("broker", "shop") | {"datasets": datasets})
    records = [{"id": 1, "much": [{"a": None}, "b"]}] * 2
    async with stage.working():
        await post(client, {"item": records}, {"item": records[0]})
        await eventually(lambda: settled(taken, 3))
    data = [one["data"] for one in taken.events]
    assert [(one["op"], one["values"]) for one in data] == [("insert", {"body": records[0], "type": "push"})] * 3
    assert len({one["id"] for one in taken.events}) == 3


async def test_an_event_comes_again_by_a_killed_worker_as_the_same_message_and_by_a_replay_as_a_new_one(
    stage: Stage, client: httpx2.AsyncClient, taken: Taken, settings: Settings
) -> None:
    await post(client, item(1, name="a"), item(1, name="b"))
    assert await work_until_killed("outlet.before_save=kill@2") == -signal.SIGKILL
    came = [("update", "a"), ("update", "b")]
    await taken.has(*came)
    async with stage.working():
        await taken.has(*came, *came)
        assert [one["id"] for one in taken.events[:2]] == [one["id"] for one in taken.events[2:]]
        headers = {"Authorization": f"Bearer {mint_token(settings, ['events:write'], subject='ada')}"}
        order = {"endpoint": "shop", "path": "item.name == 'a'"}
        assert (await client.post("/replays", json=order, headers=headers)).status_code == 202
        await taken.has(*came, *came, ("update", "a"))
        await stage.nms("resync", "out", "--yes")
        await eventually(lambda: settled(taken, 8))
    values = {one["data"]["values"]["event"] for one in taken.events if one["data"]["values"]["name"] == "a"}
    ids = {one["id"] for one in taken.events}
    assert (len(values), len(ids)) == (1, 6)


async def test_what_no_queue_takes_is_told_and_sent_once_one_does(
    stage: Stage, client: httpx2.AsyncClient, taken: Taken, rabbitmq: str
) -> None:
    await stage.apply(out("broker", "nowhere/items"))
    found = await stage.answer("doctor", "out")
    assert "exchange-missing" in json.dumps(found)
    await post(client, item(1, name="a"))
    async with stage.working():
        await stage.reach("halted", "retrying", name="out")
        await stage.apply(out("broker", "shop/items"))
        await taken.has(("update", "a"))


async def settled(taken: Taken, count: int) -> bool:
    return len(taken.events) == count


async def test_records_of_one_key_stand_in_order_in_one_partition_of_a_topic(
    stage: Stage, client: httpx2.AsyncClient, kafka: KafkaServer
) -> None:
    topic = kafka.create_topic(f"items-{uuid.uuid4().hex[:8]}", 4)
    cluster = {"kind": "system", "name": "cluster", "type": "kafka", "servers": kafka.servers}
    await stage.apply(cluster, out("cluster", topic))
    await post(client, *(item(number, name=f"{number}-{turn}") for turn in range(3) for number in range(5)))
    assert await work_until_killed("outlet.before_save=kill@2") == -signal.SIGKILL
    async with stage.working():
        records = await collect(kafka, topic, 30)
    first = {json.loads(one.value)["id"]: one for one in reversed(records)}
    assert len(first) == 15
    lanes: dict[str, set[int]] = {}
    for one in records:
        lanes.setdefault(one.key, set()).add(one.partition)
    assert all(len(lane) == 1 for lane in lanes.values())
    names = [
        json.loads(one.value)["data"]["values"]["name"] for one in records if first[json.loads(one.value)["id"]] is one
    ]
    assert {key: [name for name in names if name.startswith(f"{key}-")] for key in range(5)} == {
        key: [f"{key}-{turn}" for turn in range(3)] for key in range(5)
    }
