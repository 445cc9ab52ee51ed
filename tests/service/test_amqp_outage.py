"""A broker that is killed or wiped in the middle: nothing is lost silently, one id a change, in order per key."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiormq.exceptions import AMQPError

from nms.common.change import NULL, Change, unframe
from nms.common.flow import Batch, Load
from nms.common.problem import Problem
from nms.common.rows import write_rows
from nms.connectors.amqp import config, target
from nms.connectors.amqp.config import Access, Limits
from nms.connectors.amqp.problems import BrokerAway
from tests.conftest import MakeDatabase
from tests.service.queues import PREPARE, SHAPE, TABLE, Broker, Collected, Feed, Kept, batch_of, outlet, update
from tests.services.rabbitmq import RabbitServer
from tests.waiting import eventually, insist

KEYS, BATCHES, BATCH = 80, 60, 80
COLD, FED = 1_000, 4_000
AWAY = (AMQPError, OSError, asyncio.InvalidStateError, RuntimeError)


@pytest.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[RabbitServer]:
    server = await asyncio.to_thread(RabbitServer(tmp_path / "rabbit").launch)
    yield server
    await asyncio.to_thread(server.end, signal.SIGKILL)


def batches() -> list[list[Change]]:
    """Updates of few keys, each with a value of its own."""
    starts = range(0, BATCHES * BATCH, BATCH)
    return [[update(number % KEYS, str(number)) for number in range(start, start + BATCH)] for start in starts]


def check(sent: Iterable[Change], got: Collected) -> None:
    """Fail unless every change arrived under an id of its own, and those of a key in their order."""
    names: dict[int, list[str]] = {}
    for change in sent:
        names.setdefault(key_of(change), []).append(name_of(change))
    assert got.names == names
    assert len(got.ids) == sum(map(len, names.values()))


def key_of(change: Change) -> int:
    return int(unframe(change.key) or b"")


def name_of(change: Change) -> str:
    return (unframe(change.values[1] or NULL) or b"").decode()


def copy_of(changes: Iterable[Change], generation: int) -> Batch:
    """Rows as a copy brings them."""
    batch = batch_of([], 1_000)
    rows = [tuple(field or NULL for field in change.values) for change in changes]
    batch.load = Load(SHAPE, Rows(write_rows(rows)), len(rows))
    return replace(batch, position={**batch.position, "generation": generation})


class Rows(list[bytes]):
    """Rows in memory."""

    def discard(self) -> None:
        """Nothing is kept."""


def wipe(server: RabbitServer, dsn: str) -> None:
    """Make a virtual host as new as after a lost disk."""
    name = dsn.rpartition("/")[2]
    server.drop_vhost(name)
    server.create_vhost(name)


async def reached(collected: Collected, number: int) -> bool:
    return len(collected.ids) >= number


async def fed(feed: Feed, number: int) -> bool:
    [[count]] = await feed.rows("select count(*) from item")
    return int(count) >= number


async def saved(store: Kept, number: int) -> bool:
    return len(store.positions) >= number


async def push(dsn: str, store: Kept, written: Sequence[list[Change]], struck: asyncio.Event) -> None:
    """Send the batches behind the kept position; the last ones only when the broker has been struck."""
    async with outlet(dsn, "shop", store) as end:
        done = int(store.positions[-1]["lsn"].removeprefix("0/"), 16) if store.positions else 0
        for place, changes in enumerate(written[done:], done + 1):
            if place > BATCHES - 10:
                await struck.wait()
            await end.apply(batch_of(changes, place))


class Gone(Exception):
    """The broker was not there, or is not any more."""


@asynccontextmanager
async def consuming(dsn: str, collected: Collected) -> AsyncIterator[None]:
    """Collect the queue `out` over as many connections as it takes."""

    async def consume() -> None:
        try:
            async with Broker.at(dsn) as broker:
                queue = await broker.channel.get_queue("out")
                await queue.consume(collected.take)
                await broker.channel.closed()
        except AWAY as error:
            raise Gone from error
        raise Gone

    task = asyncio.create_task(insist(consume, Gone, 120))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_killed_broker_loses_nothing_either_way(own_broker: RabbitServer, make_database: MakeDatabase) -> None:
    dsn, collected, written, store, struck = own_broker.dsn(), Collected(), batches(), Kept(), asyncio.Event()
    feed = Feed(Access("broker", dsn), await make_database(), {"items": SHAPE}, Limits(prefetch=5))
    await feed.run(PREPARE.read_text(), TABLE)
    expected = [(number, str(number)) for number in range(FED)]
    async with Broker.at(dsn) as broker:
        await broker.declare("out", "shop")
        await broker.declare("items")
        await broker.send("items", [{"id": number, "name": name, "price": 1, "extra": {}} for number, name in expected])
    async with consuming(dsn, collected):
        feeding = asyncio.create_task(insist(feed.move, Problem, 120))
        await eventually(lambda: fed(feed, 1))
        pushing = asyncio.create_task(insist(lambda: push(dsn, store, written, struck), Problem, 120))
        await eventually(lambda: reached(collected, BATCH))
        await asyncio.to_thread(own_broker.end, signal.SIGKILL)
        struck.set()
        assert not pushing.done()
        assert not await fed(feed, FED)
        await asyncio.to_thread(own_broker.launch)
        await asyncio.wait_for(pushing, 120)
        await eventually(lambda: reached(collected, BATCHES * BATCH), 60)
        await eventually(lambda: fed(feed, FED), 60)
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    check(chain.from_iterable(written), collected)
    assert await feed.rows() == expected


async def test_a_wiped_broker_gets_what_it_had_not_confirmed_and_a_copy_heals_the_rest(
    rabbitmq: str, rabbitmq_server: RabbitServer
) -> None:
    collected, written, store, struck = Collected(), batches(), Kept(), asyncio.Event()
    async with Broker.at(rabbitmq) as broker:
        await broker.declare("out", "shop")
    written[0].append(update(COLD, "cold"))
    pushing = asyncio.create_task(insist(lambda: push(rabbitmq, store, written, struck), Problem, 120))
    await eventually(lambda: saved(store, 3))
    await asyncio.to_thread(wipe, rabbitmq_server, rabbitmq)
    struck.set()
    kept = len(store.positions)
    assert not pushing.done()
    async with Broker.at(rabbitmq) as broker:
        await broker.declare("out", "shop")
    async with consuming(rabbitmq, collected):
        await asyncio.wait_for(pushing, 120)
        await eventually(lambda: reached(collected, (BATCHES - kept) * BATCH))
        check(chain.from_iterable(written[kept:]), collected)
        # What the broker had confirmed went with it; a resync copies all rows under a new generation.
        assert COLD not in collected.names
        rows = {change.key: change for change in chain.from_iterable(written)}
        async with outlet(rabbitmq, "shop", store) as end:
            await end.apply(copy_of(rows.values(), generation=2))
        await eventually(lambda: reached(collected, (BATCHES - kept) * BATCH + len(rows)))
    assert {key: names[-1] for key, names in collected.names.items()} == {
        key_of(change): name_of(change) for change in rows.values()
    }


class Wire:
    """A way to a broker that can fall silent, as a network does: connections stay, nothing passes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.server: asyncio.Server

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a connection with one to the broker."""
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._tasks += [asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
        finally:
            writer.close()

    def fall_silent(self) -> None:
        self._open.clear()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.server.close()


@pytest.fixture
async def wire(rabbitmq: str) -> AsyncIterator[Wire]:
    made = Wire(urlsplit(rabbitmq).port or 0)
    made.server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    yield made
    await made.close()


async def test_a_broker_that_falls_silent_is_noticed(
    rabbitmq: str, wire: Wire, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(target, "PUBLISH_SECONDS", 2)
    async with Broker.at(rabbitmq) as broker:
        await broker.declare("items", "shop")
    dsn = rabbitmq.replace(f":{urlsplit(rabbitmq).port}/", f":{wire.server.sockets[0].getsockname()[1]}/")
    feed = Feed(Access("broker", dsn), await make_database(), {"items": SHAPE})
    await feed.run(PREPARE.read_text(), TABLE)
    feeding = asyncio.create_task(feed.move())
    async with outlet(dsn, "shop", Kept()) as end:
        await end.apply(batch_of([update(1, "a")], 1))
        await eventually(lambda: fed(feed, 1))
        wire.fall_silent()
        with pytest.raises(BrokerAway):
            await asyncio.wait_for(end.apply(batch_of([update(2, "b")], 2)), 60)
        with pytest.raises(BrokerAway):
            await asyncio.wait_for(feeding, 60)


@pytest.mark.parametrize("fault", ["lost", "swapped", "one id for two"])
def test_the_check_catches(fault: str) -> None:
    changes = [update(1, "a"), update(1, "b"), update(2, "c")]
    got = Collected({"x": 1, "y": 2, "z": 1}, {1: ["a", "b"], 2: ["c"]})
    check(changes, got)
    if fault == "lost":
        got.names[2].clear()
    elif fault == "swapped":
        got.names[1].reverse()
    else:
        del got.ids["y"]
    with pytest.raises(AssertionError):
        check(changes, got)
