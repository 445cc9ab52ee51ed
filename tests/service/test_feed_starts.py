"""Where a queue into tables goes on when its target, or what it followed before, stands somewhere else."""

from collections.abc import AsyncIterator

import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.queues import Broker
from tests.service.stage import Stage, pipeline
from tests.service.test_amqp_pipeline import into, systems
from tests.waiting import eventually


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
async def broker(rabbitmq: str) -> AsyncIterator[Broker]:
    async with Broker.at(rabbitmq) as made:
        await made.declare("items")
        yield made


async def held(stage: Stage, broker: Broker, number: int) -> bool:
    """Whether so many are held and the queue is empty."""
    return len(await stage.answer("quarantine", "list", "in")) == number and await broker.ready("items") == 0


async def test_what_is_held_outlives_a_resync(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), into())
    async with stage.working():
        await broker.send("items", [b"not json", {"id": 3, "name": None}])
        await eventually(lambda: held(stage, broker, 2))
        await stage.nms("resync", "in", "--yes")
        await broker.send("items", [{"id": 2, "name": "b"}])
        await stage.arrive("select id from item", [2])
        assert (await stage.get("in")).generation == 2
        assert await held(stage, broker, 2)


@pytest.mark.parametrize(
    "loss", ["delete from nms.position", "update nms.position set position = position || '{\"place\": 0}'"]
)
async def test_what_is_held_outlives_a_target_that_lost_its_position(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), into())
    async with stage.working():
        await broker.send("items", [b"not json", {"id": 3, "name": None}, {"id": 1, "name": "a"}])
        await stage.arrive("select id from item", [1])
        await eventually(lambda: held(stage, broker, 2))
        await eventually(lambda: told(stage))
    await stage.at("target", loss)
    async with stage.working():
        await broker.send("items", [{"id": 2, "name": "b"}])
        await stage.arrive("select id from item order by id", [1, 2])
        await eventually(lambda: held(stage, broker, 2))


async def test_a_pipeline_that_followed_a_log_goes_on_with_a_queue(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = systems(stage, rabbitmq, monkeypatch)
    await stage.apply(*documents, pipeline("in"))
    async with stage.working():
        await stage.reach("streaming", name="in")
        await stage.apply(*documents, into())
        await broker.send("items", [{"id": 1, "name": "a"}])
        await stage.arrive("select id from item", [1])


async def test_no_property_of_a_message_halts_its_queue(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.at("target", "create table public.child (id bigint references item)")
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), into())
    emptied = {
        "specversion": "1.0",
        "id": "1",
        "source": "x",
        "type": "nms.change.truncate",
        "data": {"op": "truncate"},
    }
    async with stage.working():
        await broker.send("items", [b"not json"], message_id="a\0b")
        await broker.send("items", [{"id": 1, "name": "a"}, emptied, {"id": 2, "name": "b"}, emptied])
        await stage.arrive("select id from item order by id", [1, 2])

        async def held() -> bool:
            rows = await stage.answer("quarantine", "list", "in")
            return sorted(one["op"] for one in rows) == ["message", "truncate", "truncate"]

        await eventually(held)
        await stage.at("target", "drop table public.child")
        await stage.nms("quarantine", "replay", "in", "--all")
        await stage.arrive("select id from item", [])


async def told(stage: Stage) -> bool:
    """Whether the hub knows of all batches that the target has."""
    [place] = await stage.at("target", "select (position ->> 'place')::bigint from nms.position")
    return bool(((await stage.get("in")).position or {}).get("place") == place)
