"""Events onwards to RabbitMQ: each as it came, in order, at least once, whatever happens to broker and process."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import REGISTRY
from pydantic import SecretStr

from nms.common.settings import Settings
from nms.inbox.arrival import Arrival, Unsent, new_event_id
from nms.inbox.days import DayRepository
from nms.inbox.relay import EXCHANGE, Relay, RelayRepository, run_relay, to_letter
from tests.service.queues import Broker
from tests.service.role_process import UVICORN, launch
from tests.services.door import Door
from tests.services.rabbitmq import RabbitServer
from tests.waiting import PATIENCE, Stopwatch, eventually

QUEUE = "of-a-test"


def arrival(body: str, endpoint: str = "shop", type_: str = "order.paid") -> Arrival:
    raw = body.encode()
    digest = sha256(endpoint.encode() + raw).digest()
    return Arrival(new_event_id(), endpoint, digest, digest, type_, "text/x-test; a=b", b"", raw, 3)


async def store(*arrivals: Arrival) -> None:
    await (await RelayRepository.open()).store(arrivals)


class Taken:
    """What came out of a queue: the messages in their order, and the bodies without what came twice."""

    def __init__(self) -> None:
        self.messages: list[AbstractIncomingMessage] = []

    def bodies(self, endpoint: str = "shop") -> list[str]:
        first = {message.message_id: message for message in reversed(self.messages)}
        ids = dict.fromkeys(message.message_id for message in self.messages)
        return [first[id_].body.decode() for id_ in ids if first[id_].headers["endpoint"] == endpoint]

    async def take(self, message: AbstractIncomingMessage) -> None:
        self.messages.append(message)

    async def has(self, count: int, endpoint: str = "shop") -> list[str]:
        async def enough() -> bool:
            return len(self.bodies(endpoint)) >= count

        await eventually(enough)
        return self.bodies(endpoint)


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[Taken]:
    """A queue bound to everything that the inbox passes on."""
    taken = Taken()
    async with Broker.at(dsn) as broker:
        await broker.declare(QUEUE, EXCHANGE)
        await (await broker.channel.get_queue(QUEUE)).consume(taken.take, no_ack=True)
        yield taken


def with_broker(settings: Settings, dsn: str) -> Settings:
    return settings.model_copy(update={"amqp_dsn": SecretStr(dsn)})


@asynccontextmanager
async def relaying(settings: Settings, dsn: str, copies: int = 1) -> AsyncIterator[None]:
    stop = asyncio.Event()
    repository = await RelayRepository.open()
    tasks = [asyncio.create_task(Relay(repository, with_broker(settings, dsn)).run(stop)) for _ in range(copies)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def lag() -> float:
    return REGISTRY.get_sample_value("nms_inbox_relay_lag") or 0.0


def lost() -> float:
    return REGISTRY.get_sample_value("nms_inbox_relay_lost_total") or 0.0


async def is_at(repository: RelayRepository, number: int) -> bool:
    return bool(await repository.connection.fetchval("select number = $1 from inbox.relay", number))


async def test_a_message_is_the_event_as_it_came(settings: Settings, rabbitmq: str) -> None:
    event = arrival('{"n": 1}')
    async with listening(rabbitmq) as taken:
        await store(event)
        async with relaying(settings, rabbitmq):
            await taken.has(1)
    (message,) = taken.messages
    assert message.routing_key == "shop.order.paid"
    assert (message.body, message.content_type, message.type) == (event.body, event.content_type, event.type)
    assert (message.message_id, message.delivery_mode) == (str(event.id), aio_pika.DeliveryMode.PERSISTENT)
    assert message.timestamp is not None
    assert abs((datetime.now(UTC) - message.timestamp).total_seconds()) < 600
    assert message.headers == {"endpoint": "shop", "item": 3, "key": event.key.hex(), "number": 1}


async def test_all_endpoints_are_passed_on_in_order_by_several_processes_at_once(
    settings: Settings, rabbitmq: str
) -> None:
    names = [f"{n:04}" for n in range(700)]
    async with listening(rabbitmq) as taken, relaying(settings, rabbitmq, copies=3):
        for start in range(0, 700, 70):
            some = names[start : start + 70]
            await store(*(arrival(name, endpoint) for name in some for endpoint in ("shop", "gone", "other")))
        for endpoint in ("shop", "gone", "other"):
            assert await taken.has(700, endpoint) == names
        assert len(taken.messages) == 2100, "nothing is sent twice while all is well"

        async def measured() -> bool:
            return lag() == 0

        await eventually(measured)


async def test_what_is_dropped_for_its_age_before_it_was_passed_on_is_told_once(
    settings: Settings, rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    repository = await RelayRepository.open()
    before = lost()
    async with listening(rabbitmq) as taken:
        await store(arrival("a"))
        async with relaying(settings, rabbitmq):
            await taken.has(1)
            await eventually(lambda: is_at(repository, 1))
        await store(*(arrival(f"lost {n}") for n in range(3)))
        await repository.connection.execute(
            "update inbox.event set received_at = received_at - interval '40 d' where number > 1"
        )
        days = await DayRepository.open()
        await days.make_days(0)
        assert await days.drop_day(30 * 86_400)
        await store(arrival("b"))
        async with relaying(settings, rabbitmq):
            assert await taken.has(2) == ["a", "b"]
            await store(arrival("c"))
            assert await taken.has(3) == ["a", "b", "c"]
            await eventually(lambda: is_at(repository, 6))
    assert lost() - before == 3
    assert [record.levelname for record in caplog.records if "before RabbitMQ had them" in record.message] == ["ERROR"]


async def test_a_replayed_event_is_passed_on_under_its_own_id_with_its_run(settings: Settings, rabbitmq: str) -> None:
    first, second = arrival("a"), arrival("b")
    async with listening(rabbitmq) as taken, relaying(settings, rabbitmq):
        await store(first, second)
        await taken.has(2)
        connection: Any = (await RelayRepository.open()).connection
        await connection.execute(
            "insert into inbox.again (endpoint, event_id, received_at, run) "
            "select endpoint, id, received_at, 7 from inbox.event where id = $1",
            first.id,
        )
        await store(arrival("c"))
        await taken.has(3)
    assert [message.body for message in taken.messages] == [b"a", b"b", b"a", b"c"]
    assert taken.messages[2].message_id == str(first.id)
    assert [message.headers.get("run") for message in taken.messages] == [None, None, 7, None]


async def test_what_was_replayed_and_is_kept_no_more_hides_nothing_behind_it(settings: Settings) -> None:
    repository = await RelayRepository.open()
    await repository.connection.execute(
        "insert into inbox.again (endpoint, event_id, received_at, run) "
        "select 'shop', gen_random_uuid(), now() - interval '90 days', 7 from generate_series(1, 9)"
    )
    await store(arrival("a"))
    assert [event.body for event in await repository.list_unsent(0, 10, 5, 1 << 20)] == [b"a"]


async def test_a_batch_is_bounded_in_bytes_and_a_large_event_goes_alone(settings: Settings) -> None:
    repository = await RelayRepository.open()
    await store(*(arrival(f"{n}" * 1000) for n in range(9)))

    async def next_of(after: int, most: int) -> list[int]:
        return [event.number for event in await repository.list_unsent(after, 9, 100, most)]

    assert await next_of(0, 2500) == [1, 2, 3]
    assert await next_of(3, 1) == [4]
    assert await next_of(4, 1 << 20) == [5, 6, 7, 8, 9]


async def test_while_the_broker_is_away_only_lag_grows(settings: Settings, rabbitmq: str) -> None:
    door = Door(rabbitmq)

    async def waits() -> bool:
        return lag() == 150

    names = [f"{n:03}" for n in range(300)]
    async with listening(rabbitmq) as taken, relaying(settings, door.dsn):
        await store(*(arrival(name) for name in names[:150]))
        await eventually(waits)
        await door.open()
        assert await taken.has(150) == names[:150]
        await door.shut()
        await store(*(arrival(name) for name in names[150:]))
        await eventually(waits)
        await door.open()
        assert await taken.has(300) == names
    await door.shut()


async def test_a_broker_that_hangs_does_not_keep_the_process_from_stopping(settings: Settings, rabbitmq: str) -> None:
    door = Door(rabbitmq)
    await door.open()
    async with listening(rabbitmq) as taken, relaying(settings, door.dsn):
        await store(arrival("a"))
        await taken.has(1)
        door.held.set()
        await store(*(arrival(f"{n}") for n in range(50)))

        async def under_way() -> bool:
            locked = "select number from inbox.relay for update skip locked"
            return await (await RelayRepository.open()).connection.fetchval(locked) is None

        await eventually(under_way)
        watch = Stopwatch()
    assert watch.seconds() < 2
    await door.shut()


async def test_a_queue_that_is_full_gets_what_it_refused_as_soon_as_it_takes_it(
    settings: Settings, rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    full = {"x-max-length": 2, "x-overflow": "reject-publish"}
    taken = Taken()
    async with Broker.at(rabbitmq) as broker:
        await broker.declare(QUEUE, EXCHANGE, arguments=full)
        async with relaying(settings, rabbitmq):
            await store(*(arrival(f"{n}") for n in range(9)))

            async def refused_twice() -> bool:
                return sum("did not take" in record.getMessage() for record in caplog.records) > 1

            await eventually(refused_twice)
            assert await (await RelayRepository.open()).get_relay_lag() > 0
            await (await broker.channel.get_queue(QUEUE)).consume(taken.take, no_ack=True)
            assert sorted(await taken.has(9)) == [f"{n}" for n in range(9)]


async def test_a_wiped_broker_gets_all_that_is_kept_once_more(
    settings: Settings, rabbitmq_server: RabbitServer, rabbitmq: str
) -> None:
    name = rabbitmq.rpartition("/")[2]
    events = [arrival(f"{n}") for n in range(5)]
    await store(*events)
    for _ in range(2):
        async with listening(rabbitmq) as taken, relaying(settings, rabbitmq):
            await taken.has(5)
        assert [UUID(message.message_id or "") for message in taken.messages] == [event.id for event in events]
        await asyncio.to_thread(rabbitmq_server.drop_vhost, name)
        await asyncio.to_thread(rabbitmq_server.create_vhost, name)


@pytest.mark.parametrize("fault", ["inbox.after_publish=kill@2", "inbox.after_rewind=kill"])
async def test_a_killed_process_repeats_a_batch_and_loses_none(
    fault: str, settings: Settings, database: str, rabbitmq: str, tmp_path: Path
) -> None:
    names = [f"{n:03}" for n in range(600)]
    await store(*(arrival(name) for name in names))
    environment = {"DB_NMS_DSN": database, "AMQP_DSN": rabbitmq, "NMS_FAULTS": fault}
    async with listening(rabbitmq) as taken:
        role = launch("nms.inbox.main:app", tmp_path, UVICORN, environment)
        try:
            assert await asyncio.to_thread(role.process.wait, PATIENCE) == -signal.SIGKILL
        finally:
            role.process.kill()
        async with relaying(settings, rabbitmq):
            assert await taken.has(600) == names
    assert len({message.message_id for message in taken.messages}) == 600


async def test_without_a_broker_nothing_is_relayed(settings: Settings) -> None:
    assert settings.amqp_dsn is None
    await run_relay(await RelayRepository.open(), settings, asyncio.Event())


def unsent(type_: str, content_type: str = "text/plain") -> Unsent:
    now = datetime.now(UTC)
    return Unsent(1, new_event_id(), "shop", type_, 0, content_type, b"\x01\xff", b"", now, None)


@pytest.mark.parametrize(
    ("type_", "expected"),
    [("", "shop"), ("a", "shop.a"), ("contact.property..x", "shop.contact.property..x"), ("*.#", "shop.*.#")],
)
def test_the_routing_key_is_endpoint_and_type(type_: str, expected: str) -> None:
    assert to_letter(unsent(type_)).routing_key == expected


@pytest.mark.parametrize("type_", ["x" * 400, "é" * 200, "a" + "\U0001f600" * 100])
def test_what_is_too_long_for_the_broker_is_cut_between_characters(type_: str) -> None:
    letter = to_letter(unsent(type_, "text/" + type_))
    for text, whole in ((letter.routing_key, f"shop.{type_}"), (letter.type, type_)):
        assert whole.startswith(text)
        assert 251 < len(text.encode()) <= 255
    assert letter.content_type is None
    assert letter.headers["key"] == "01ff"
