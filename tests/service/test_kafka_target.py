"""Topics as a target: every change is an event with a lasting id, in order per key, and none is lost."""

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord

from nms.common import faults
from nms.common.change import UNCHANGED, Change, Op, frame
from nms.common.flow import ChangeRefused, Position
from nms.connectors.kafka.problems import KafkaAway, TopicMissing
from tests.conftest import MakeDatabase
from tests.service.topics import ITEMS, Feed, Kept, batch_of, collect, outlet, update
from tests.services.kafka import KafkaServer
from tests.waiting import insist

PRODUCE, NOT_LEADER, TIMED_OUT, TOO_LARGE = 0, 6, 7, 10


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return kafka.create_topic(f"out-{uuid.uuid4().hex[:8]}", 4)


def names_of(changes: Sequence[Change]) -> dict[int, list[str]]:
    """By key the names that were sent, in order."""
    names: dict[int, list[str]] = defaultdict(list)
    for change in changes:
        names[int(change.key[4:])].append((change.values[1] or b"")[4:].decode())
    return names


def find_faults(records: Sequence[ConsumerRecord], changes: Sequence[Change]) -> list[str]:
    """What a consumer that takes every id once would hold against these messages."""
    first: dict[str, bytes] = {}
    partitions: dict[bytes, int] = {}
    got: dict[int, list[str]] = defaultdict(list)
    found = []
    for record in records:
        event = json.loads(record.value)
        if json.loads(record.key) != event["data"]["key"]:
            found.append(f"{record.key!r} is not the key of its event")
        if partitions.setdefault(record.key, record.partition) != record.partition:
            found.append(f"{record.key!r} stands in two partitions")
        if event["id"] not in first:
            first[event["id"]] = record.value
            got[event["data"]["key"]["id"]].append(event["data"]["values"]["name"])
        elif first[event["id"]] != record.value:
            found.append(f"{event['id']} names two events")
    sent = names_of(changes)
    return found + [
        f"key {key}: {got[key]}, not {sent[key]}" for key in sent.keys() | got.keys() if got[key] != sent[key]
    ]


async def test_each_change_is_one_event_in_order_of_its_key(kafka: KafkaServer, topic: str) -> None:
    changes = [update(number % 10, str(number)) for number in range(1_000)]
    store = Kept()
    async with outlet(kafka, topic, store) as target:
        applied = await target.apply(batch_of(changes, 16))
    assert (applied.changes, store.positions) == (1_000, [{"generation": 1, "lsn": "0/10"}])
    records = await collect(kafka, topic, 1_000)
    assert len(records) == 1_000
    assert find_faults(records, changes) == []
    assert len({record.partition for record in records}) > 1
    assert records[0].headers == (("content-type", b"application/cloudevents+json"),)
    event = json.loads(records[0].value)
    assert (event["type"], event["source"], event["nmspipeline"]) == ("nms.change.update", "/nms/shop/items", "out")


@pytest.mark.parametrize("planted", ["lost", "swapped", "new id", "same id", "other partition"])
async def test_the_checker_finds_what_is_planted(kafka: KafkaServer, topic: str, planted: str) -> None:
    changes = [update(number % 2, str(number)) for number in range(6)]
    async with outlet(kafka, topic, Kept()) as target:
        await target.apply(batch_of(changes, 16))
        await target.apply(batch_of(changes, 16))
    records = await collect(kafka, topic, 12)
    assert find_faults(records, changes) == []
    key = records[0].key
    own = [at for at, record in enumerate(records) if record.key == key]
    assert len(own) == 6
    last = json.loads(records[own[5]].value)
    match planted:
        case "lost":
            records = [record for record in records if json.loads(record.value)["id"] != last["id"]]
        case "swapped":
            records[own[0]], records[own[1]] = records[own[1]], records[own[0]]
        case "new id":
            records[own[5]] = _with(records[own[5]], value=json.dumps({**last, "id": "another"}).encode())
        case "same id":
            first = json.loads(records[own[0]].value)
            records[own[1]] = _with(records[own[1]], value=json.dumps({**last, "id": first["id"]}).encode())
        case "other partition":
            records[own[5]] = _with(records[own[5]], partition=records[own[5]].partition + 1)
    assert find_faults(records, changes)


def _with(record: ConsumerRecord, **changed: object) -> ConsumerRecord:
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return ConsumerRecord(**{**fields, **changed})


async def test_a_crash_before_the_position_is_kept_sends_the_same_ids_again(kafka: KafkaServer, topic: str) -> None:
    changes = [update(number % 7, str(number)) for number in range(100)]
    store = Kept()
    faults.arm("outlet.before_save=raise@1", "test")
    try:
        async with outlet(kafka, topic, store) as target:
            with pytest.raises(faults.FaultInjected):
                await target.apply(batch_of(changes, 16))
    finally:
        faults.arm("", "test")
    assert store.positions == []
    async with outlet(kafka, topic, store) as target:
        await target.apply(batch_of(changes, 16))
    records = await collect(kafka, topic, 200)
    assert len({json.loads(record.value)["id"] for record in records}) == 100
    assert find_faults(records, changes) == []


async def test_nothing_is_lost_while_the_cluster_is_cut_off(
    own_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.connectors.kafka.target.SEND_SECONDS", 0.5)
    topic = own_kafka.create_topic("out", 4)
    changes = [update(number % 20, str(number)) for number in range(4_000)]
    away = 0

    class Cutting(Kept):
        """Cuts the cluster off after some batches: shortly, and until a send has failed."""

        async def save(self, position: Position) -> None:
            await super().save(position)
            if len(self.positions) in (5, 15, 25):
                own_kafka.set_down()
                if len(self.positions) != 15:
                    asyncio.get_running_loop().call_later(0.1, own_kafka.set_up)

    store = Cutting()

    async def send_rest() -> bool:
        nonlocal away
        away += 1
        if len(store.positions) == 15:
            asyncio.get_running_loop().call_later(0.5, own_kafka.set_up)
        async with outlet(own_kafka, topic, store) as target:
            for place in range(len(store.positions), 40):
                await target.apply(batch_of(changes[place * 100 : place * 100 + 100], place + 1))
        return True

    await insist(send_rest, KafkaAway, 60)
    assert away > 1
    assert len(store.positions) == 40
    assert find_faults(await collect(own_kafka, topic, 4_000), changes) == []


async def test_a_cluster_that_stays_away_is_told(own_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nms.connectors.kafka.target.SEND_SECONDS", 1.0)
    topic = own_kafka.create_topic("out", 4)
    store = Kept()
    async with outlet(own_kafka, topic, store) as target:
        own_kafka.set_down()
        with pytest.raises(KafkaAway) as caught:
            await asyncio.wait_for(target.apply(batch_of([update(1, "a")], 16)), 60)
        assert (caught.value.retry, store.positions) == ("later", [])
        own_kafka.set_up()
        # The same target goes on.
        await target.apply(batch_of([update(1, "a")], 16))
    assert find_faults(await collect(own_kafka, topic, 1), [update(1, "a")]) == []


async def test_errors_that_pass_are_not_seen(kafka: KafkaServer, topic: str) -> None:
    changes = [update(number % 5, str(number)) for number in range(50)]
    async with outlet(kafka, topic, Kept()) as target:
        kafka.call("fail", PRODUCE, [NOT_LEADER, TIMED_OUT, NOT_LEADER])
        await target.apply(batch_of(changes, 16))
    records = await collect(kafka, topic, 50)
    assert (len(records), find_faults(records, changes)) == (50, [])


async def test_a_change_that_is_too_large_is_named_and_together_they_are_cut(own_kafka: KafkaServer) -> None:
    topic = own_kafka.create_topic("out", 1)
    changes = [update(number, "a") for number in range(3)]
    async with outlet(own_kafka, topic, Kept()) as target:
        own_kafka.call("fail", PRODUCE, [TOO_LARGE])
        await target.apply(batch_of([changes[0], changes[2]], 16))
        own_kafka.call("fail", PRODUCE, [TOO_LARGE, 0, TOO_LARGE])
        with pytest.raises(ChangeRefused) as caught:
            await target.apply(batch_of(changes, 16))
        assert (caught.value.change, caught.value.problem.code) == (changes[1], "record-too-large")
    records = await collect(own_kafka, topic, 3)
    assert find_faults(records, [changes[0], changes[2]]) == []


async def test_a_topic_that_is_missing_is_named_and_not_made(kafka: KafkaServer) -> None:
    name = f"missing-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        with pytest.raises(TopicMissing) as caught:
            async with outlet(kafka, name, Kept()):
                pass
        assert caught.value.topic == name


async def test_deletes_and_moves_of_keys_are_events_that_a_topic_source_follows(
    kafka: KafkaServer, make_database: MakeDatabase
) -> None:
    topic = kafka.create_topic(f"mirror-{uuid.uuid4().hex[:8]}", 1)
    moved = update(4, "moved")
    key = frame(b"4")
    changes = [
        *(update(number, "a", Op.INSERT) for number in range(4)),
        Change(ITEMS, Op.DELETE, frame(b"0")),
        Change(ITEMS, Op.UPDATE, key, (key, moved.values[1], UNCHANGED, UNCHANGED), old_key=frame(b"3")),
        Change(ITEMS, Op.UPDATE, frame(b"1"), (frame(b"1"), frame(b"b"), UNCHANGED, UNCHANGED)),
    ]
    async with outlet(kafka, topic, Kept()) as target:
        await target.apply(batch_of(changes, 16))
    records = await collect(kafka, topic, 7)
    assert [json.loads(record.key)["id"] for record in records] == [0, 1, 2, 3, 0, 4, 1]
    assert json.loads(records[4].value)["data"] == {"op": "delete", "dataset": "items", "key": {"id": 0}}
    assert json.loads(records[5].value)["data"]["old_key"] == {"id": 3}
    feed = Feed(kafka, await make_database(), topic)
    await feed.prepare()
    async with feed.moves():
        await feed.arrive([(1, "b"), (2, "a"), (4, "moved")])
    assert await feed.rows("select price::text from item where id = 4") == [("1.50",)]
