"""What a plan says of pipelines that look in rounds, or whose target is no database, is what the worker does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.queues import Broker
from tests.service.remote_writes import VERBS, WRITES
from tests.service.stage import PREPARE, TABLE, Stage
from tests.service.test_amqp_pipeline import systems
from tests.service.test_cfg_effects import ITEM, effects, mapped, turn
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

MORE_TABLE = "create table public.more (like public.item including all); insert into public.more values (1, 'a')"
MOVED = "where that is another database"


async def test_pipelines_that_look_in_rounds_take_up_a_system_that_moves_as_the_plan_says(
    settings: Settings, make_database: MakeDatabase
) -> None:
    stage, other = await Stage.set(settings, await make_database(), await make_database()), await make_database()
    for sql in (TABLE, PREPARE.read_text(), "insert into item values (7, 'there')"):
        await stage.at(other, sql)
    await stage.at("source", "insert into item values (1, 'a'), (2, 'b')")
    async with stage.working():
        await stage.apply(*stage.systems(), mapped(ITEM, capture="poll", every="1s"))
        await rows(stage, "target", [1, 2])
        assert await move(stage, source=other) == [f"pipeline items is copied again {MOVED}"]
        await rows(stage, "target", [7])
        await stage.apply(mapped(ITEM, capture="compare", every="1s"))
        assert await move(stage, source=stage.source) == [
            "pipeline items waits where that is another server, until `nms resync items`; where it is another "
            "database of the same one, it makes its target like that in its next round"
        ]
        await rows(stage, "target", [1, 2])
        assert await move(stage, target=other) == ["pipeline items makes the tables there alike in its next round"]
        await rows(stage, other, [1, 2])
        await stage.apply(mapped(ITEM, capture="poll", every="1s"))
        await stage.reach("streaming")
        await stage.at("target", "truncate item")
        assert await move(stage, target=stage.target) == [f"pipeline items is copied again {MOVED}"]
        await rows(stage, "target", [1, 2])


async def move(stage: Stage, **dsn: str) -> list[str]:
    """Have a system stand elsewhere; gives what the plan says besides where it goes, and that pipelines reconnect."""
    (moved,) = stage.systems(**dsn)
    told = await effects(moved)
    assert told[0].endswith(": pipeline items reconnects")
    await stage.apply(moved)
    return told[1:]


async def rows(stage: Stage, place: str, expected: list[int]) -> None:
    async def look() -> bool:
        return await stage.at(place, "select id from item order by id") == expected

    await eventually(look)


Arrived = Callable[[int], Awaitable[bool]]
"""Whether the table that came is there so often."""


async def add_table(stage: Stage, target: str, datasets: list[dict[str, Any]], arrived: Arrived) -> None:
    """A second table for a pipeline that follows the log: it is not published yet."""
    await stage.apply(mapped(*datasets[:1], target=target))
    await stage.reach("streaming")
    assert await turn(stage, mapped(*datasets, target=target)) == [
        "pipeline items waits until `nms resync items` publishes table public.more too"
    ]
    assert ((await stage.reach("halted")).problem or {})["code"] == "publication-gone"
    await stage.nms("resync", "items", "--yes")
    await stage.reach("streaming")
    await stage.at("source", "insert into more values (2, 'b')")
    await eventually(lambda: arrived(2))


@dataclass
class Remote:
    """A hostile API with two resources, and the tables that go there."""

    stage: Stage
    api: HostileApi
    both: list[dict[str, Any]]

    async def arrived(self, count: int) -> bool:
        return len(self.api.records("more")) == count


@pytest.fixture
async def remote(outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi) -> Remote:
    dsn = await make_database()
    stage = Stage(outbound, dsn, dsn)
    await stage.at("source", f"{TABLE}; {MORE_TABLE}")
    resources = {"items": "item", "more": "more"}
    for name in resources:
        hostile_api.add(name)
    system = {"kind": "system", "name": "remote", "type": "rest", "url": hostile_api.url,
              "resources": {name: resource_of(name) for name in resources}}  # fmt: skip
    await stage.apply(*stage.systems(source=dsn), system)
    fields = {"id": "reference", "name": "name"}
    both = [{"source": f"public.{table}", "target": name, "fields": fields} for name, table in resources.items()]
    return Remote(stage, hostile_api, both)


async def test_a_table_comes_to_an_api_as_the_plan_says(remote: Remote) -> None:
    async with remote.stage.working():
        await add_table(remote.stage, "remote", remote.both, remote.arrived)


async def test_a_table_that_is_polled_comes_to_an_api_as_the_plan_says(remote: Remote) -> None:
    polled = {"target": "remote", "capture": "poll", "every": "1s"}
    async with remote.stage.working():
        await remote.stage.apply(mapped(*remote.both[:1], **polled))
        await remote.stage.reach("streaming")
        told = await turn(remote.stage, mapped(*remote.both, **polled))
        assert told == ["table public.more is copied, and the others go on"]
        await eventually(lambda: remote.arrived(1))


def resource_of(name: str) -> dict[str, Any]:
    def under(path: Any) -> Any:
        return path.replace("items", name) if isinstance(path, str) else path

    writes = {verb: {part: under(value) for part, value in told.items()} if verb in VERBS else told
              for verb, told in WRITES.items()}  # fmt: skip
    paging = {"style": "page", "parameter": "page"}
    return {"path": f"/{name}", "records": "data", "record": f"/{name}/{{id}}", "paging": paging, "writes": writes}


async def test_a_table_comes_to_a_queue_as_the_plan_says(
    settings: Settings, make_database: MakeDatabase, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = await make_database()
    stage = Stage(settings, dsn, dsn)
    await stage.at("source", f"{TABLE}; {MORE_TABLE}")
    async with Broker.at(rabbitmq) as broker:
        await broker.declare("items", "shop", key="#.more.#")
        await stage.apply(*systems(stage, rabbitmq, monkeypatch))

        async def arrived(count: int) -> bool:
            return await broker.ready("items") >= count

        async with stage.working():
            sent = [{"source": table, "target": "shop"} for table in ("public.item", "public.more")]
            await add_table(stage, "broker", sent, arrived)
