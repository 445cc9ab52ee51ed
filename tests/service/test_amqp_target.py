"""Exchanges as a target: nothing is lost silently, and every event bears its id and its key's order."""

from collections.abc import AsyncIterator

import pytest

from nms.common.change import Change, Op, frame
from nms.common.flow import ChangeRefused
from nms.connectors.amqp import target as target_module
from nms.connectors.amqp.problems import EventNotTaken, ExchangeMissing, Unroutable
from tests.service.queues import SHAPE, Broker, Collected, Kept, batch_of, outlet, update
from tests.waiting import eventually


@pytest.fixture
async def broker(rabbitmq: str) -> AsyncIterator[Broker]:
    async with Broker.at(rabbitmq) as made:
        yield made


async def collect(broker: Broker, queue: str, number: int) -> Collected:
    collected = Collected()
    made = await broker.channel.get_queue(queue)
    tag = await made.consume(collected.take)

    async def look() -> bool:
        return len(collected.ids) >= number

    await eventually(look)
    await made.cancel(tag)
    return collected


async def test_each_change_is_one_event_in_order_of_its_key(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop")
    changes = [update(number % 10, str(number)) for number in range(1_000)]
    store = Kept()
    async with outlet(rabbitmq, "shop", store) as target:
        applied = await target.apply(batch_of(changes, 16))
    assert (applied.changes, store.positions) == (1_000, [{"generation": 1, "lsn": "0/10"}])
    got = await collect(broker, "out", 1_000)
    assert len(got.ids) == 1_000
    assert got.names == {key: [str(number) for number in range(key, 1_000, 10)] for key in range(10)}
    assert set(got.keys) == {"items.update"}


async def test_a_routing_key_can_be_given(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop", "new.items")
    async with outlet(rabbitmq, "shop/new.items", Kept()) as target:
        await target.apply(batch_of([update(1, "a")], 16))
    assert (await collect(broker, "out", 1)).keys == ["new.items"]


async def test_a_batch_that_is_sent_again_has_the_same_ids(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop")
    batch = batch_of([update(1, "a"), update(1, "b")], 16)
    async with outlet(rabbitmq, "shop", Kept()) as target:
        await target.apply(batch)
        await target.apply(batch)
        await target.apply(batch_of([update(1, "c")], 17))
    got = await collect(broker, "out", 3)
    assert sorted(got.ids.values()) == [1, 2, 2]
    assert got.names == {1: ["a", "b", "c"]}


async def test_an_event_that_no_queue_takes_is_not_lost(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop", "other")
    batch = batch_of([update(1, "a")], 16)
    store = Kept()
    async with outlet(rabbitmq, "shop", store) as target:
        with pytest.raises(Unroutable) as caught:
            await target.apply(batch)
        assert (caught.value.routing_key, caught.value.retry, store.positions) == ("items.update", "later", [])
        await broker.declare("out", "shop")
        await target.apply(batch)
    assert (await collect(broker, "out", 1)).names == {1: ["a"]}


async def test_an_exchange_that_is_missing_is_named(rabbitmq: str) -> None:
    with pytest.raises(ExchangeMissing) as caught:
        async with outlet(rabbitmq, "nowhere", Kept()):
            pass
    assert caught.value.exchange == "nowhere"


async def test_an_exchange_that_is_deleted_is_named(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop")
    async with outlet(rabbitmq, "shop", Kept()) as target:
        await broker.channel.exchange_delete("shop")
        with pytest.raises(ExchangeMissing):
            await target.apply(batch_of([update(1, "a")], 16))


async def test_a_refused_event_does_not_let_the_next_of_its_key_pass(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    batch = batch_of([update(1, str(number)) for number in range(5)], 16)
    collected = Collected()
    async with outlet(rabbitmq, "shop", Kept()) as target:
        made = await broker.channel.get_queue("out")
        with pytest.raises(EventNotTaken):
            await target.apply(batch)
        await made.consume(collected.take)
        for _ in range(50):
            try:
                await target.apply(batch)
                break
            except EventNotTaken:
                continue

        async def look() -> bool:
            return len(collected.ids) == 5

        await eventually(look)
    assert collected.names == {1: ["0", "1", "2", "3", "4"]}


async def test_a_change_that_no_broker_takes_is_refused_alone(
    broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare("out", "shop")
    monkeypatch.setattr(target_module, "EVENT_BYTES", 1_000)
    large = update(2, "x" * 1_000)
    async with outlet(rabbitmq, "shop", Kept()) as target:
        with pytest.raises(ChangeRefused) as caught:
            await target.apply(batch_of([update(1, "a"), large], 16))
    assert caught.value.change is large
    assert caught.value.problem.code == "event-too-large"


async def test_a_move_waits_for_both_its_keys_and_a_truncate_for_all(broker: Broker, rabbitmq: str) -> None:
    await broker.declare("out", "shop")
    moved = update(2, "moved")
    moved.old_key = frame(b"1")
    changes = [update(1, "a"), update(2, "b"), moved, update(1, "c"), Change(SHAPE, Op.TRUNCATE, b""), update(3, "d")]
    async with outlet(rabbitmq, "shop", Kept()) as target:
        await target.apply(batch_of(changes, 16))
    got = await collect(broker, "out", 6)
    assert got.names == {1: ["a", "c"], 2: ["b", "moved"], 3: ["d"]}
    assert got.keys[-2:] == ["items.truncate", "items.update"]
