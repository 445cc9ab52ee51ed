"""What every bus promises: nothing lost, handled once in effect, in order per key, whatever dies."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from nms.common import outbox
from nms.common.bus.bus import Bus, open_bus
from nms.common.bus.subscription import EventHandler, Subscription
from nms.common.db.repositories import BaseDwhRepository, BaseNmsRepository
from nms.common.event import Envelope, Event, unpack
from nms.common.problem import Problem, Unavailable
from nms.common.settings import Settings
from tests.waiting import PATIENCE, eventually


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    """A dwh of the test alone: these write there."""
    return dwh_database


TOPOLOGY = {"counter": ["test.*"]}


class Ticked(Event):
    """A thing ticked."""

    type = "test.thing.ticked"

    thing: str
    number: int

    @property
    def key(self) -> str:
        """Per thing."""
        return self.thing


class Ignored(Event):
    """Nobody wants this."""

    type = "nobody.thing.ignored"


class Poisonous(Problem):
    """This event can never be handled."""

    status, code = 409, "poisonous"


class World:
    """An outbox in `nms`, a subscriber in `dwh` that notes effects, and the bus between them."""

    def __init__(self, source: BaseNmsRepository, target: BaseDwhRepository, bus: Bus, settings: Settings) -> None:
        self.source, self.target, self.bus, self.settings = source, target, bus, settings

    async def put(self, thing: str, *numbers: int) -> None:
        for number in numbers:
            async with self.source.transaction() as tx:
                await outbox.put(tx, Ticked(thing=thing, number=number))

    async def effects(self, thing: str) -> list[int]:
        rows = await self.target.connection.fetch("select number from effect where key = $1 order by id", thing)
        return [row["number"] for row in rows]

    async def reached(self, thing: str, count: int, seconds: float = PATIENCE) -> list[int]:
        async def look() -> list[int] | None:
            found = await self.effects(thing)
            return found if len(found) >= count else None

        return await eventually(look, seconds)

    @asynccontextmanager
    async def running(self, handler: EventHandler | None = None, *, copies: int = 1) -> AsyncIterator[None]:
        stop = asyncio.Event()
        subscription = Subscription("counter", TOPOLOGY["counter"], self.target, handler or note)
        tasks = [asyncio.create_task(self.bus.relay(self.source, stop))]
        tasks += [asyncio.create_task(self.bus.deliver(subscription, stop)) for _ in range(copies)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


async def note(tx: Any, envelope: Envelope) -> None:
    event = unpack(envelope, Ticked)
    await tx.connection.execute("insert into effect (key, number) values ($1, $2)", event.thing, event.number)


@pytest.fixture(params=["postgres", "rabbit"])
async def world(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[World]:
    used = settings
    if request.param == "rabbit":
        used = settings.model_copy(update={"amqp_dsn": SecretStr(request.getfixturevalue("rabbitmq"))})
    source, target = await BaseNmsRepository.open(), await BaseDwhRepository.open()
    await target.connection.execute(
        "create table effect (id bigint generated always as identity, key text, number integer)"
    )
    bus = open_bus(used, source, TOPOLOGY)
    yield World(source, target, bus, used)
    await bus.close()


async def test_an_event_arrives_after_its_commit_and_never_without_it(world: World) -> None:
    async with world.running():
        tx = world.source.transaction()
        open_one = await tx.__aenter__()
        await outbox.put(open_one, Ticked(thing="a", number=1))
        await world.put("b", 1)
        assert await world.reached("b", 1) == [1]
        assert await world.effects("a") == []
        await tx.__aexit__(None, None, None)
        assert await world.reached("a", 1) == [1]
        with pytest.raises(ZeroDivisionError):
            await put_and_fail(world)
        await world.put("b", 2)
        await world.reached("b", 2)
        assert await world.effects("c") == []


async def put_and_fail(world: World) -> None:
    async with world.source.transaction() as tx:
        await outbox.put(tx, Ticked(thing="c", number=1))
        raise ZeroDivisionError


async def test_what_was_put_before_anyone_listened_arrives(world: World) -> None:
    await world.put("a", *range(50))
    async with world.running():
        assert await world.reached("a", 50) == list(range(50))


async def test_order_per_key_holds_under_concurrent_writers(world: World) -> None:
    async def write(thing: str) -> None:
        await world.put(thing, *range(60))

    async with world.running(copies=2):
        await asyncio.gather(*(write(f"k{number}") for number in range(8)))
        for number in range(8):
            assert await world.reached(f"k{number}", 60) == list(range(60))


async def test_order_is_that_of_commits_though_the_later_transaction_began_first(world: World, database: str) -> None:
    early = await asyncpg.connect(database)
    await early.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str)
    try:
        async with world.running(), early.transaction():
            await early.fetchval("select pg_current_xact_id()")
            await world.put("a", 1)
            assert await world.reached("a", 1, 5.0) == [1], "a long transaction elsewhere must not delay events"
            await early.execute(
                "insert into common.outbox (type, key, payload) values ('test.thing.ticked', 'a', $1)",
                '{"thing": "a", "number": 2}',
            )
        async with world.running():
            assert await world.reached("a", 2) == [1, 2]
    finally:
        await early.close()


async def test_an_event_is_delivered_again_but_its_effect_happens_once(world: World) -> None:
    async with world.running():
        await world.put("a", 1, 2, 3)
        await world.reached("a", 3)
        await world.source.connection.execute("update common.subscriber set position = 0")
        await world.put("a", 4)
        assert await world.reached("a", 4) == [1, 2, 3, 4]


async def test_a_failing_handler_is_tried_again_in_order(world: World) -> None:
    failures = {1: 3, 2: 1}

    async def stumble(tx: Any, envelope: Envelope) -> None:
        number = envelope.payload["number"]
        await note(tx, envelope)
        if failures.get(number, 0) > 0:
            failures[number] -= 1
            raise ZeroDivisionError if number == 1 else Unavailable("It is away.")

    async with world.running(stumble):
        await world.put("a", 1, 2, 3)
        assert await world.reached("a", 3) == [1, 2, 3]


async def test_an_event_that_can_never_be_handled_becomes_a_dead_letter_and_the_next_goes_on(
    world: World, request: pytest.FixtureRequest
) -> None:
    async def refuse(tx: Any, envelope: Envelope) -> None:
        if envelope.payload["number"] == 1:
            raise Poisonous("It cannot be handled.")
        if envelope.payload["number"] == 2:
            raise ZeroDivisionError
        await note(tx, envelope)

    async with world.running(refuse):
        await world.put("a", 1, 2, 3)
        assert await world.reached("a", 3 - 2) == [3]
    assert await count_dead(world, request) == 2


async def count_dead(world: World, request: pytest.FixtureRequest) -> int:
    if world.settings.amqp_dsn is None:
        return int(await world.target.connection.fetchval("select count(*) from common.dead_letter"))
    broker = request.getfixturevalue("rabbitmq_server")
    vhost = world.settings.amqp_dsn.get_secret_value().rpartition("/")[2]

    async def look() -> int | None:
        found = await asyncio.to_thread(broker.call, "GET", f"/queues/{vhost}/nms.counter.dead")
        return 2 if found.get("messages") == 2 else None

    return await eventually(look)


async def test_several_deliverers_of_one_name_share_the_work(world: World) -> None:
    async with world.running(copies=3):
        await world.put("a", *range(30))
        assert await world.reached("a", 30) == list(range(30))
    assert await world.effects("a") == list(range(30))


async def test_an_event_nobody_wants_stops_nothing(world: World) -> None:
    async with world.running():
        async with world.source.transaction() as tx:
            await outbox.put(tx, Ignored())
        await world.put("a", 1)
        assert await world.reached("a", 1) == [1]


async def test_a_stopped_delivery_goes_on_where_it_was(world: World) -> None:
    await world.put("a", *range(10))
    for _ in range(3):
        async with world.running():
            await world.put("a", 10)
    async with world.running():
        found = await world.reached("a", 13)
    assert found[:10] == list(range(10))


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (["relay", "deliver"], "relay.after_publish=kill"),
        (["relay", "deliver"], "bus.after_handle=kill@3"),
        (["relay", "deliver"], "relay.after_rewind=kill"),
    ],
)
async def test_nothing_is_lost_or_doubled_when_the_process_is_killed(
    world: World, parts: list[str], fault: str
) -> None:
    rabbit = world.settings.amqp_dsn is not None
    await world.put("a", *range(20))
    environment = {**os.environ, "NMS_FAULTS": fault}
    if rabbit:
        environment["AMQP_DSN"] = world.settings.amqp_dsn.get_secret_value()  # type: ignore[union-attr]
    if rabbit or fault.startswith("bus."):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.bus_worker", *parts, env=environment
        )
        assert await asyncio.wait_for(process.wait(), PATIENCE) == -9
    await world.put("a", *range(20, 25))
    async with world.running():
        assert await world.reached("a", 25) == list(range(25))
    assert await world.effects("a") == list(range(25))


async def test_check_names_the_problem_of_a_broker_that_is_away(settings: Settings) -> None:
    away = settings.model_copy(update={"amqp_dsn": SecretStr("amqp://nms:secret@127.0.0.1:9/")})
    source = await BaseNmsRepository.open()
    bus = open_bus(away, source, TOPOLOGY)
    with pytest.raises(Unavailable) as refused:
        await bus.check()
    assert refused.value.code == "bus-unavailable"
    assert "secret" not in str(refused.value.to_dict())


async def test_a_wiped_broker_only_makes_lag_grow(
    settings: Settings, rabbitmq_server: Any, request: pytest.FixtureRequest
) -> None:
    name = f"w-{uuid.uuid4().hex[:12]}"
    dsn = rabbitmq_server.create_vhost(name)
    source, target = await BaseNmsRepository.open(), await BaseDwhRepository.open()
    await target.connection.execute(
        "create table effect (id bigint generated always as identity, key text, number integer)"
    )
    used = settings.model_copy(update={"amqp_dsn": SecretStr(dsn)})
    world = World(source, target, open_bus(used, source, TOPOLOGY), used)
    release = asyncio.Event()

    async def hold(tx: Any, envelope: Envelope) -> None:
        if envelope.payload["number"] >= 3:
            await release.wait()
        await note(tx, envelope)

    async with world.running(hold):
        await world.put("a", *range(10))
        await world.reached("a", 3)
        await eventually(relayed(source))
        await asyncio.to_thread(rabbitmq_server.drop_vhost, name)
        await world.put("a", *range(10, 15))
        await asyncio.to_thread(rabbitmq_server.create_vhost, name)
        release.set()
        assert await world.reached("a", 15, 40) == list(range(15))
    rabbitmq_server.drop_vhost(name)


def relayed(source: BaseNmsRepository) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await outbox.lag(source, "relay") == 0

    return look
