"""Queues as a source: what cannot be read harms nobody else, and nothing is acknowledged before the target has it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nms.common import faults
from nms.common.change import Shape
from nms.connectors.amqp import source
from nms.connectors.amqp.config import Access, Limits
from nms.connectors.amqp.problems import BrokerAccessRefused, BrokerAway, QueueMissing
from tests.conftest import MakeDatabase
from tests.service.queues import PREPARE, SHAPE, TABLE, Broker, Feed
from tests.services.rabbitmq import RabbitServer


@pytest.fixture
async def broker(rabbitmq: str) -> AsyncIterator[Broker]:
    async with Broker.at(rabbitmq) as made:
        await made.declare("items")
        yield made


@pytest.fixture
async def feed(rabbitmq: str, make_database: MakeDatabase) -> Feed:
    made = Feed(Access("broker", rabbitmq), await make_database(), {"items": SHAPE})
    await made.run(PREPARE.read_text(), TABLE)
    return made


SEEN = """
create table seen (id bigint);
create function note() returns trigger language plpgsql as $$
begin insert into seen values (new.id); return new; end $$;
create trigger note after insert on item for each row execute function note()
"""


@contextmanager
def fault(text: str) -> Iterator[None]:
    """Faults of this process for the time of a block."""
    faults.arm(text, "test")
    try:
        yield
    finally:
        faults.arm("", "test")


async def empty(feed: Feed, broker: Broker, *queues: str) -> None:
    """Fail unless all was acknowledged: a reader that has left gave the rest back."""
    assert not feed.unconfirmed
    for queue in queues or ("items",):
        assert await broker.ready(queue) == 0


def item(number: int, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "price": 1.50, "extra": {"b": [1]}, **more}


async def test_messages_become_rows(broker: Broker, feed: Feed) -> None:
    async with feed.moves():
        await broker.send("items", [item(1), item(2, "ü"), {"id": 1, "name": "b"}])
        await feed.arrive([(1, "b"), (2, "ü")])
    assert await feed.rows("select price::text, extra::text from item where id = 1") == [("1.5", '{"b": [1]}')]


async def test_what_cannot_be_read_is_told_and_its_neighbours_arrive(broker: Broker, feed: Feed) -> None:
    feed.limits = Limits(message_bytes=1 << 20)
    huge = b'{"id": 3, "name": "' + b"x" * (50 << 20) + b'"}'
    bad = [b"not JSON", {"name": "no key"}, huge, b'{"id": 4, "id": 4}', b"\xff", [1]]
    async with feed.moves():
        for number, body in enumerate(bad):
            await broker.send("items", [item(number * 2), body, item(number * 2 + 1)], message_id=f"m{number}")
        await feed.arrive([(number, "a") for number in range(12)])
    assert [one.problem.code for one in feed.poison] == [
        "message-not-json", "message-lacks-key", "message-too-large", "message-not-json", "message-not-json",
        "message-not-an-object",
    ]  # fmt: skip
    assert [one.key.partition("/")[0] for one in feed.poison] == [f"m{number}" for number in range(6)]
    assert [len(one.body) for one in feed.poison][2] == 64 << 10
    await empty(feed, broker)


async def test_poison_without_an_id_is_named_by_its_content(
    broker: Broker, feed: Feed, rabbitmq: str, rabbitmq_server: RabbitServer
) -> None:
    async with feed.moves():
        # Our driver gives every message an id.
        await publish_bare(rabbitmq_server, rabbitmq, "x")
        await broker.send("items", [item(1)])
        await feed.arrive([(1, "a")])
    assert [one.key for one in feed.poison] == ["2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"]


async def test_a_time_in_microseconds_does_not_stop_the_queue(
    broker: Broker, feed: Feed, rabbitmq: str, rabbitmq_server: RabbitServer
) -> None:
    async with feed.moves():
        await publish_bare(rabbitmq_server, rabbitmq, json.dumps(item(1)), timestamp=1_700_000_000_000_000)
        await broker.send("items", [item(2)])
        await feed.arrive([(1, "a"), (2, "a")])


async def publish_bare(server: RabbitServer, dsn: str, payload: str, **properties: Any) -> None:
    """Put a message with these properties alone into the queue, as our driver never would."""
    body = {"properties": properties, "routing_key": "items", "payload": payload, "payload_encoding": "string"}
    await asyncio.to_thread(server.call, "POST", f"/exchanges/{dsn.rpartition('/')[2]}/amq.default/publish", body)


async def test_two_messages_of_one_id_are_two(broker: Broker, feed: Feed) -> None:
    async with feed.moves():
        await broker.send("items", [b"x", b"y", b"x", item(1)], message_id="1")
        await feed.arrive([(1, "a")])
    assert len({one.key for one in feed.poison}) == 2


async def test_a_repeated_message_changes_nothing(broker: Broker, feed: Feed) -> None:
    async with feed.moves():
        await broker.send("items", [item(1)] * 20 + [item(2)])
        await feed.arrive([(1, "a"), (2, "a")])


async def test_the_order_of_the_queue_holds_for_a_key_however_it_is_spelled(
    broker: Broker, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All in one batch, more than one that is written one by one, so that changes are folded by key.
    feed.limits = Limits(prefetch=1_000, batch_messages=903)
    monkeypatch.setattr(source, "IDLE_TURNS", sys.maxsize)
    spelled = [{"id": 1 if number % 2 else "01", "name": str(number)} for number in range(901)]
    await broker.send("items", [item(1), *spelled, item(2)])
    async with feed.moves():
        await feed.arrive([(1, "900"), (2, "a")])
    assert feed.sizes == [903]


async def test_what_was_written_and_not_acknowledged_comes_again_without_effect(broker: Broker, feed: Feed) -> None:
    await feed.run(SEEN)
    await broker.send("items", [item(1), item(2)])
    with fault("feed.before_ack=raise"), pytest.raises(faults.FaultInjected):
        await asyncio.wait_for(feed.move(), 60)
    assert await feed.rows() == [(1, "a"), (2, "a")]
    async with feed.moves():
        await broker.send("items", [item(3)])
        await feed.arrive([(1, "a"), (2, "a"), (3, "a")])
    await empty(feed, broker)
    # The trigger saw each row come once; the messages came twice.
    assert await feed.rows("select id, count(*) from seen group by id order by id") == [(1, 1), (2, 1), (3, 1)]
    assert sum(feed.sizes) == 5


async def test_nothing_is_acknowledged_before_the_target_has_it(broker: Broker, feed: Feed) -> None:
    await broker.send("items", [item(1)])
    with fault("apply.before_commit=raise"), pytest.raises(faults.FaultInjected):
        await asyncio.wait_for(feed.move(), 60)
    assert await feed.rows() == []
    async with feed.moves():
        await feed.arrive([(1, "a")])
    await empty(feed, broker)


async def test_a_queue_that_is_missing_is_named(feed: Feed) -> None:
    with pytest.raises(QueueMissing) as caught:
        await feed.move()
    assert (caught.value.queue, caught.value.retry) == ("items", "later")


async def test_a_queue_that_is_deleted_ends_the_reading(broker: Broker, feed: Feed) -> None:
    moving = asyncio.create_task(feed.move())
    await broker.send("items", [item(1)])
    await feed.arrive([(1, "a")])
    await broker.channel.queue_delete("items")
    with pytest.raises(QueueMissing):
        await asyncio.wait_for(moving, 60)


async def test_a_wrong_password_is_no_outage(rabbitmq: str, feed: Feed) -> None:
    feed.access = Access("broker", rabbitmq, "wrong")
    with pytest.raises(BrokerAccessRefused) as caught:
        await feed.move()
    assert "wrong" not in str(caught.value)


async def test_a_broker_that_is_away_is_an_outage(feed: Feed) -> None:
    feed.access = Access("broker", "amqp://nms@127.0.0.1:9/", "x")
    with pytest.raises(BrokerAway):
        await feed.move()


async def test_several_queues_are_read_side_by_side(broker: Broker, feed: Feed) -> None:
    await broker.declare("more")
    feed.shapes["more"] = Shape("more", SHAPE.columns, SHAPE.key)
    async with feed.moves():
        await broker.send("items", [item(1)])
        await broker.send("more", [item(2)])
        await feed.arrive([(1, "a"), (2, "a")])
    await empty(feed, broker, "items", "more")


async def test_batches_are_bounded(broker: Broker, feed: Feed) -> None:
    feed.limits = Limits(prefetch=10, batch_messages=7, batch_bytes=400)
    await broker.send("items", [item(number, "x" * 100) for number in range(30)])
    async with feed.moves():
        await feed.arrive([(30,)], "select count(*) from item")
    assert len(feed.places) >= 10
    assert feed.places == sorted(set(feed.places))
