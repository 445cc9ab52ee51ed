"""Databases and brokers through documents and a worker: queue into table, table into exchange."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import pytest

from nms.cfg.text import read_drafts
from nms.cli.demo.subscriptions import create_table, fill
from nms.common.settings import Settings
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase
from tests.service.queues import Broker
from tests.service.stage import Stage
from tests.service.test_quarantine_review import leave_only_systems
from tests.service.topics import send
from tests.services.kafka import KafkaServer
from tests.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples/subscriptions-queue.yaml"
COUNT = "select count(*) from public.item"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
async def broker(rabbitmq: str) -> AsyncIterator[Broker]:
    async with Broker.at(rabbitmq) as made:
        yield made


def broker_system(dsn: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("TEST_BROKER_DSN", dsn)
    return {"kind": "system", "name": "broker", "type": "amqp", "dsn": "env://TEST_BROKER_DSN"}


def feeding(**parts: Any) -> dict[str, Any]:
    datasets = [{"source": "items", "target": "public.item"}]
    return {
        "kind": "pipeline", "name": "items", "source": "broker", "target": "target", "capture": "feed",
        "datasets": datasets, **parts,
    }  # fmt: skip


def publishing(**parts: Any) -> dict[str, Any]:
    datasets = [{"source": "public.item", "target": "changes/item", "fields": {"id": "id", "name": "title"}}]
    return {
        "kind": "pipeline", "name": "items", "source": "source", "target": "broker", "datasets": datasets, **parts,
    }  # fmt: skip


async def test_messages_become_rows_and_what_cannot_be_read_is_held_and_replayed(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare("items")
    await stage.apply(*stage.systems(), broker_system(rabbitmq, monkeypatch), feeding())
    async with stage.working():
        await broker.send("items", [{"id": 1, "name": "a"}, {"name": "no key"}])
        await broker.send("items", [b"no json"], message_id="twice")
        await broker.send("items", [{"id": 2, "name": "b"}])
        await stage.arrive("select id from public.item order by id", [1, 2])

        async def held() -> list[Any]:
            found: list[Any] = await stage.answer("quarantine", "list", "items")
            return found

        rows = await eventually(held)
        assert sorted(row["problem"]["code"] for row in rows) == ["message-lacks-key", "message-not-json"]
        assert {row["op"] for row in rows} == {"message"}
        await broker.send("items", [b"no json"], message_id="twice")
        await broker.send("items", [{"id": 3, "name": "c"}])
        await stage.arrive(COUNT, [3])
        # A replay that meets the same trouble stays held, a drop gives it up.
        key = next(row["key"] for row in rows if row["problem"]["code"] == "message-not-json")
        await stage.nms("quarantine", "replay", "items", "--key", key)

        async def one_left() -> bool:
            await stage.nms("quarantine", "drop", "items", "--key", key)
            return [row["problem"]["code"] for row in await held() if row["state"] == "held"] == ["message-lacks-key"]

        await eventually(one_left)
    assert await broker.ready("items") == 0


async def test_a_message_older_than_its_row_is_passed_over(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare("items")
    await stage.at("target", "alter table public.item add column version bigint")
    datasets = [{"source": "items", "target": "public.item", "version": "version"}]
    await stage.apply(*stage.systems(), broker_system(rabbitmq, monkeypatch), feeding(datasets=datasets))
    async with stage.working():
        changes = [{"id": 1, "name": f"v{version}", "version": version} for version in (2, 5, 3, 1, 4)]
        await broker.send("items", changes)
        await broker.send("items", [{"id": number, "name": "x", "version": 1} for number in range(2, 1000)])
        await stage.arrive(COUNT, [999])
        await broker.send("items", [*changes, {"id": 1000, "name": "last", "version": 1}])
        await stage.arrive(COUNT, [1000])
    assert await stage.at("target", "select name from public.item where id = 1") == ["v5"]


async def test_what_the_pipeline_lacks_is_told_before_it_starts(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = [{"source": "nowhere", "target": "public.item"}, {"source": "items", "target": "public.absent"}]
    await broker.declare("items")
    await stage.apply(*stage.systems(), broker_system(rabbitmq, monkeypatch), feeding(datasets=datasets))
    (found,) = await stage.answer("doctor", "items")
    told = {(one["code"], one["pointer"]) for one in found["findings"] if one["fatal"]}
    assert told == {("queue-missing", "/datasets/0/source"), ("table-missing", "/datasets/1/target")}


class Consumer:
    """Collects the events of a queue and when each came first."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.events.append(json.loads(message.body))
        await message.ack()

    async def came(self, op: str, count: int) -> None:
        """Wait until so many records had a change of one kind."""

        async def look() -> bool:
            return len(self.values(op)) >= count

        await eventually(look)

    def values(self, op: str) -> dict[int, str]:
        """The last value by key of one kind of change."""
        return {
            one["data"]["key"]["id"]: one["data"].get("values", {}).get("title")
            for one in self.events if one["data"]["op"] == op
        }  # fmt: skip


async def test_a_table_becomes_events_with_lasting_ids(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare("audit", "changes")
    consumer = Consumer()
    queue = await broker.channel.get_queue("audit")
    await queue.consume(consumer.take)
    await stage.at("source", "insert into public.item select n, 'old' from generate_series(1, 500) n")
    await stage.apply(*stage.systems(), broker_system(rabbitmq, monkeypatch), publishing())

    async with stage.working():
        await consumer.came("insert", 500)
        await stage.reach("streaming")
        await stage.at("source", "update public.item set name = 'new' where id <= 100")
        await stage.at("source", "delete from public.item where id = 500")
        await consumer.came("update", 100)
        await consumer.came("delete", 1)
        # A session of the pipeline that is ended sends again what was not confirmed, under the same ids.
        await stage.at("source", "update public.item set name = 'newer' where id <= 300")
        await stage.at(
            "source", "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'nms:items:%'"
        )

        async def newest() -> bool:
            return sum(1 for title in consumer.values("update").values() if title == "newer") == 300

        await eventually(newest)
    ids: dict[str, dict[str, Any]] = {}
    for event in consumer.events:
        assert ids.setdefault(event["id"], event)["data"] == event["data"], "one id, two changes"
    per_key = [one["data"]["values"]["title"] for one in ids.values()
               if one["data"]["key"].get("id") == 7 and "values" in one["data"]]  # fmt: skip
    assert per_key == ["old", "new", "newer"]
    assert len(ids) == 500 + 100 + 1 + 300
    stored = await (await SyncRepository.open()).get_position("items")
    assert stored is not None
    assert "tables" not in stored


@pytest.fixture
async def emails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A thousand subscriptions in the second database, by their e-mail."""
    monkeypatch.setenv("CRM_DSN", stage.target)
    connection = await asyncpg.connect(stage.target)
    try:
        await create_table(connection)
        await fill(connection, 1000)
        return [row["email"] for row in await connection.fetch("select email from public.subscription order by 1")]
    finally:
        await connection.close()


def status_messages(emails: list[str]) -> list[dict[str, Any]]:
    """All inactive; then one that nobody knows, and one that is older than what the row has."""
    sent = [{"email": email, "status": "inactive", "changed_at": "2030-01-01T00:00:00Z"} for email in emails]
    stranger = {"email": "stranger@example.org", "status": "active", "changed_at": "2030-01-01T00:00:00Z"}
    return [*sent, stranger, {"email": emails[0], "status": "active", "changed_at": "2020-01-01T00:00:00Z"}]


def example_without(system: str) -> list[dict[str, Any]]:
    drafts = [draft.data for draft in read_drafts(EXAMPLE.read_bytes(), EXAMPLE.name)]
    return [one for one in drafts if system not in (one["name"], one.get("source"))]


async def check_statuses(stage: Stage, emails: list[str]) -> None:
    counts = "select count(*) filter (where status = 'inactive') * 10000 + count(*) from public.subscription"
    await stage.arrive(counts, [1000 * 10000 + 1000])
    status = f"select status from public.subscription where email = '{emails[0]}'"
    assert await stage.at("target", status) == ["inactive"]


async def test_the_example_of_messages_runs_over_rabbitmq(
    stage: Stage, broker: Broker, rabbitmq: str, emails: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare("subscription-status")
    monkeypatch.setenv("BROKER_DSN", rabbitmq)
    await stage.apply(*example_without("kafka"))

    async def read() -> bool:
        return await broker.ready("subscription-status") == 0

    async with stage.working():
        await broker.send("subscription-status", status_messages(emails))
        await check_statuses(stage, emails)
        await eventually(read)
    await check_statuses(stage, emails)


async def test_the_example_of_messages_runs_over_kafka(stage: Stage, kafka: KafkaServer, emails: list[str]) -> None:
    topic = kafka.create_topic(f"status-{uuid4().hex[:8]}", 3)
    documents = example_without("rabbitmq")
    system = next(one for one in documents if one["name"] == "kafka")
    system["servers"] = kafka.servers
    mapping = next(one for one in documents if one["kind"] == "pipeline")["datasets"][0]
    mapping["source"] = topic
    await stage.apply(*documents)
    async with stage.working():
        await send(kafka, topic, [(one["email"].encode(), one) for one in status_messages(emails)])
        await check_statuses(stage, emails)


async def test_a_removed_pipeline_gives_back_its_slot(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare("audit", "changes")
    await stage.apply(*stage.systems(), broker_system(rabbitmq, monkeypatch), publishing())
    repository = await SyncRepository.open()
    slots = "select slot_name from pg_replication_slots where database = current_database()"
    async with stage.working():
        await stage.reach("streaming")
        assert await stage.at("source", slots) == ["nms_items"]
        await leave_only_systems(stage)

        async def gone() -> bool:
            return await repository.get_position("items") is None

        await eventually(gone)
        assert await stage.at("source", slots) == []
