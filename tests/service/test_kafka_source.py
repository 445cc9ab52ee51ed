"""Topics as a source: offsets are kept with the rows, and what cannot be read harms nobody else."""

import asyncio
import uuid
from asyncio import CancelledError
from typing import Any

import pytest

from nms.common.change import frame
from nms.common.flow import FeedSpec
from nms.common.messages import FieldUnreadable
from nms.connectors.kafka import source
from nms.connectors.kafka.client import known_partitions, list_partitions
from nms.connectors.kafka.config import Limits
from nms.connectors.kafka.problems import KafkaAway, OffsetLost, TopicMissing, TopicReplaced
from tests.conftest import MakeDatabase
from tests.service.topics import Feed, access_to, send, shape_of
from tests.services.kafka import KafkaServer
from tests.waiting import PATIENCE, eventually


@pytest.fixture
async def feed(kafka: KafkaServer, make_database: MakeDatabase) -> Feed:
    return await feed_of(kafka, make_database)


async def feed_of(kafka: KafkaServer, make_database: MakeDatabase, partitions: int = 4) -> Feed:
    topic = kafka.create_topic(f"items-{uuid.uuid4().hex[:8]}", partitions)
    made = Feed(kafka, await make_database(), topic)
    await made.prepare()
    return made


def item(number: int, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "price": 1.50, "extra": {"b": [1]}, **more}


async def test_messages_become_rows_and_their_offsets_stand_beside_them(kafka: KafkaServer, feed: Feed) -> None:
    async with feed.moves():
        await send(kafka, feed.topic, [item(1), item(2, "ü"), {"id": 1, "name": "b"}], partition=2)
        await feed.arrive([(1, "b"), (2, "ü")])
    assert await feed.rows("select price::text, extra::text from item where id = 1") == [("1.5", '{"b": [1]}')]
    assert await feed.offsets() == {f"{feed.topic}/{number}": 3 if number == 2 else 0 for number in range(4)}


async def count_effects(feed: Feed) -> None:
    """Note every row that is written, in a table `seen`."""
    await feed.rows("create table seen (id bigint)")
    await feed.rows("create function note() returns trigger language plpgsql as"
                    " $$ begin insert into seen values (new.id); return new; end $$")  # fmt: skip
    await feed.rows("create trigger note after insert or update on item for each row execute function note()")


@pytest.mark.parametrize(("planted", "effects"), [(-1, [1, 2, 2, 3]), (1, [1, 2])])
async def test_an_offset_that_is_wrong_by_one_is_seen_in_the_effects(
    kafka: KafkaServer, feed: Feed, planted: int, effects: list[int]
) -> None:
    await count_effects(feed)
    await send(kafka, feed.topic, [item(1), item(2)], partition=0)
    async with feed.moves():
        await feed.arrive([(1, "a"), (2, "a")])
    await feed.rows(
        f"update nms.position set position = jsonb_set(position, '{{offsets,{feed.topic}/0}}', '{2 + planted}')"
    )
    await send(kafka, feed.topic, [item(3)], partition=0)
    async with feed.moves():
        await send(kafka, feed.topic, [item(9)], partition=0)
        await feed.arrive([(1,)], "select count(*) from item where id = 9")
    assert await feed.rows("select id from seen where id < 9 order by id") == [(one,) for one in effects]


async def test_what_was_written_is_never_read_again_and_what_was_not_is(kafka: KafkaServer, feed: Feed) -> None:
    await count_effects(feed)
    await send(kafka, feed.topic, [(f"k{number}", item(number)) for number in range(300)])
    feed.limits = Limits(batch_messages=20)
    deaths = 0

    def die() -> None:
        nonlocal deaths
        deaths += 1
        if deaths % 3 == 0:
            raise InterruptedError

    for at in ("before_apply", "after_apply"):
        setattr(feed, at, die)
    arriving = asyncio.create_task(feed.arrive([(300,)], "select count(*) from item"))
    while not arriving.done():
        moving = asyncio.create_task(feed.move())
        await asyncio.wait({moving, arriving}, return_when=asyncio.FIRST_COMPLETED)
        moving.cancel()
        assert isinstance((await asyncio.gather(moving, return_exceptions=True))[0], InterruptedError | CancelledError)
    await arriving
    assert deaths > 15
    assert await feed.rows("select count(*), count(distinct id) from seen") == [(300, 300)]


async def test_what_cannot_be_read_is_told_and_its_neighbours_arrive(kafka: KafkaServer, feed: Feed) -> None:
    feed.limits = Limits(message_bytes=1 << 16)
    huge = b'{"id": 3, "name": "' + b"x" * (2 << 20) + b'"}'
    bad = [b"not JSON", {"name": "no key"}, huge, b'{"id": 4, "id": 4}', b"\xff", [1], b"", {"id": {"a": 1}}]
    messages: list[Any] = []
    for number, body in enumerate(bad):
        messages += [item(number * 2), body, item(number * 2 + 1)]
    async with feed.moves():
        await send(kafka, feed.topic, messages, partition=0)
        await feed.arrive([(number, "a") for number in range(16)])
    assert [one.problem.code for one in feed.poison] == [
        "message-not-json", "message-lacks-key", "message-too-large", "message-not-json", "message-not-json",
        "message-not-an-object", "message-not-json", "field-unreadable",
    ]  # fmt: skip
    places = [f"{feed.topic}/0@{number * 3 + 1}" for number in range(8)]
    assert [one.key.rpartition("/")[0] for one in feed.poison] == places
    assert len(feed.poison[2].body) == 64 << 10


async def test_a_batch_of_nothing_readable_moves_the_offsets_all_the_same(kafka: KafkaServer, feed: Feed) -> None:
    async with feed.moves():
        await send(kafka, feed.topic, [b"x", b"y"], partition=0)

        async def moved() -> bool:
            return (await feed.offsets()).get(f"{feed.topic}/0") == 2

        await eventually(moved)
    async with feed.moves():
        await send(kafka, feed.topic, [item(1)], partition=0)
        await feed.arrive([(1, "a")])
    assert len(feed.poison) == 2


async def test_a_tombstone_deletes_and_a_key_supplies_what_the_value_lacks(kafka: KafkaServer, feed: Feed) -> None:
    def lacking(name: str) -> dict[str, Any]:
        return {"name": name, "price": 1, "extra": None}

    async with feed.moves():
        keyed = [({"id": 1}, lacking("object")), (b"2", lacking("number")), (b'"3"', lacking("text")),
                 (b"4", item(5, "own"))]  # fmt: skip
        await send(kafka, feed.topic, keyed, partition=1)
        await feed.arrive([(1, "object"), (2, "number"), (3, "text"), (5, "own")])
        await send(kafka, feed.topic, [({"id": 1}, None), (b"03", None), (b"5", None), (b"[]", None)], partition=1)
        await feed.arrive([(2, "number")])
    assert [one.problem.code for one in feed.poison] == ["message-lacks-key"]


async def test_order_per_key_is_that_of_its_partition(kafka: KafkaServer, feed: Feed) -> None:
    messages = [(str(number % 50), item(number % 50, str(number))) for number in range(2_000)]
    async with feed.moves():
        await send(kafka, feed.topic, messages)
        await feed.arrive([(number, str(1_950 + number)) for number in range(50)])


async def test_batches_are_bounded(kafka: KafkaServer, feed: Feed) -> None:
    feed.limits = Limits(batch_messages=7)
    await send(kafka, feed.topic, [item(number) for number in range(100)])
    async with feed.moves():
        await feed.arrive([(100,)], "select count(*) from item")
    assert max(batch.changes for batch in feed.batches) <= 7
    places = [batch.place for batch in feed.batches]
    assert places == list(range(1, len(places) + 1))


async def test_without_a_copy_reading_begins_where_the_topic_ended(kafka: KafkaServer, feed: Feed) -> None:
    feed.copy = False
    await send(kafka, feed.topic, [item(1)], partition=0)
    async with feed.moves():

        async def kept() -> bool:
            return (await feed.offsets()).get(f"{feed.topic}/0") == 1

        await eventually(kept)
    # What comes while nobody reads is not passed over.
    await send(kafka, feed.topic, [item(2)], partition=0)
    async with feed.moves():
        await feed.arrive([(2, "a")])


async def test_messages_that_retention_removed_unread_are_told(kafka: KafkaServer, feed: Feed) -> None:
    await send(kafka, feed.topic, [item(1), item(2)], partition=0)
    async with feed.moves():
        await feed.arrive([(1, "a"), (2, "a")])
    await send(kafka, feed.topic, [item(number) for number in range(3, 9)], partition=0)
    kafka.call("delete_records", feed.topic, 0, 5)
    with pytest.raises(OffsetLost) as caught:
        await feed.move()
    assert (caught.value.partition, caught.value.lost, caught.value.retry) == (0, 3, "never")


async def test_a_topic_that_was_made_anew_is_told(kafka: KafkaServer, feed: Feed) -> None:
    await send(kafka, feed.topic, [item(1), item(2)], partition=0)
    async with feed.moves():
        await feed.arrive([(1, "a"), (2, "a")])
    kafka.call("delete_topic", feed.topic)
    kafka.create_topic(feed.topic, 4)
    with pytest.raises(TopicReplaced):
        await feed.move()


async def test_a_topic_that_is_missing_is_named_and_not_made(kafka: KafkaServer, feed: Feed) -> None:
    feed.topic = f"missing-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        with pytest.raises(TopicMissing) as caught:
            await feed.move()
        assert (caught.value.topic, caught.value.retry) == (feed.topic, "later")


async def test_a_partition_that_is_new_is_read_from_its_beginning(
    kafka: KafkaServer, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A mock cluster cannot add partitions to a topic, so one is kept from sight at first.
    seen = 3

    def known(client: Any, topics: Any) -> dict[str, list[int]]:
        return {topic: numbers[:seen] for topic, numbers in known_partitions(client, topics).items()}

    async def listed(client: Any, access: Any, topics: Any) -> dict[str, list[int]]:
        return {topic: numbers[:seen] for topic, numbers in (await list_partitions(client, access, topics)).items()}

    monkeypatch.setattr(source, "known_partitions", known)
    monkeypatch.setattr(source, "list_partitions", listed)
    monkeypatch.setattr(source, "LOOK_SECONDS", 0.2)
    feed.copy = False
    async with feed.moves():
        await send(kafka, feed.topic, [item(1)], partition=3)
        await eventually(feed.offsets)
        await send(kafka, feed.topic, [item(2)], partition=0)
        await feed.arrive([(2, "a")])
        seen = 4
        await feed.arrive([(1, "a"), (2, "a")])
        await send(kafka, feed.topic, [item(3)], partition=0)
        await feed.arrive([(1, "a"), (2, "a"), (3, "a")])
    assert await feed.offsets() == {f"{feed.topic}/{number}": at for number, at in enumerate([2, 0, 0, 1])}
    assert sum(batch.changes for batch in feed.batches) == 3


async def test_a_message_that_was_held_can_be_read_again(kafka: KafkaServer, feed: Feed) -> None:
    await send(kafka, feed.topic, [(b"7", {"name": ["no", "text"], "price": {"a": 1}})], partition=0)
    async with feed.moves():

        async def held() -> bool:
            return bool(feed.poison)

        await eventually(held)
    spec = FeedSpec("feed", 1, {}, {feed.topic: shape_of(feed.topic)})
    opened = await source.TopicSource.open(access_to(kafka), spec)
    try:
        with pytest.raises(FieldUnreadable) as caught:
            opened.read(feed.topic, feed.poison[0].body)
        assert caught.value.field == "price"
        [change] = opened.read(feed.topic, feed.poison[0].body.replace(b'{"a": 1}', b"2"))
        assert change.key == frame(b"7")
        assert opened.facts() == {"topics": {feed.topic: {"partitions": 4, "behind": 1}}, "behind_messages": 1}
    finally:
        await opened.close()
        await opened.close()


async def test_a_cluster_that_goes_away_ends_the_reading_and_loses_nothing(
    own_kafka: KafkaServer, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(source, "ANSWER_SECONDS", 1.0)
    feed = await feed_of(own_kafka, make_database)
    moving = asyncio.create_task(feed.move())
    await send(own_kafka, feed.topic, [item(1)])
    await feed.arrive([(1, "a")])
    own_kafka.set_down()
    with pytest.raises(KafkaAway):
        await asyncio.wait_for(moving, PATIENCE)
    with pytest.raises(KafkaAway):
        await feed.move()
    own_kafka.set_up()
    await send(own_kafka, feed.topic, [item(2)])
    async with feed.moves():
        await feed.arrive([(1, "a"), (2, "a")])
