"""A queue between two databases, by documents and a worker: what leaves one arrives in the other."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nms.common.settings import Settings
from nms.connectors.amqp import target
from tests.conftest import MakeDatabase
from tests.service.queues import Broker, Collected
from tests.service.stage import Stage, pipeline
from tests.waiting import eventually

HELD = [("12", "event-too-large"), ("2", "event-too-large"), ("2", "follows-held")]
ALL = "select t::text from (select * from public.item order by id) t"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
async def broker(rabbitmq: str) -> AsyncIterator[Broker]:
    async with Broker.at(rabbitmq) as made:
        await made.declare("items", "shop")
        yield made


def systems(stage: Stage, dsn: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    login, _, place = dsn.removeprefix("amqp://").partition("@")
    user, _, password = login.partition(":")
    monkeypatch.setenv("BROKER_PASSWORD", password)
    broker = {"kind": "system", "name": "broker", "type": "amqp", "dsn": f"amqp://{user}@{place}",
              "password": "env://BROKER_PASSWORD"}  # fmt: skip
    return [*stage.systems(), broker]


def out(*tables: str) -> dict[str, Any]:
    datasets = [{"source": table, "target": "shop"} for table in tables or ("public.item",)]
    return pipeline("out") | {"target": "broker", "datasets": datasets}


def into(**parts: Any) -> dict[str, Any]:
    datasets = [{"source": "items", "target": "public.item"}]
    return pipeline("in") | {"source": "broker", "capture": "feed", "datasets": datasets} | parts


async def test_a_queue_between_two_databases_mirrors_all(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.at("source", "insert into item select n, 'n' || n from generate_series(1, 500) n")
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), out(), into())
    async with stage.working():
        await stage.reach("streaming", name="out")
        for sql in (
            "update item set name = 'ü\"\\' where id <= 10",
            "delete from item where id between 11 and 20",
            "update item set id = id + 1000 where id between 21 and 30",
            "update item set id = case id when 31 then 1032 else 1031 end where id in (31, 32)",
            "insert into item values (2001, ''), (2002, E'a\\nb')",
        ):
            await stage.at("source", sql)
        await stage.arrive(ALL, await stage.at("source", ALL))
        await stage.at("source", "truncate item")
        await stage.at("source", "insert into item values (1, 'new')")
        await stage.arrive(ALL, ["(1,new)"])


async def test_a_resync_heals_what_a_wiped_broker_had_confirmed(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.at("source", "insert into item values (1, 'a'), (2, 'b')")
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), out())
    async with stage.working():
        await eventually(lambda: has(broker, 2))
        await (await broker.channel.get_queue("items")).purge()
        await stage.at("source", "insert into item values (3, 'c')")
        await eventually(lambda: has(broker, 1))
        await stage.apply(into())
        await stage.arrive("select id from item order by id", [3])
        await stage.nms("resync", "out", "--yes")
        await stage.arrive("select id from item order by id", [1, 2, 3])


async def test_a_change_too_large_for_a_message_is_held_and_its_neighbours_leave(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "EVENT_BYTES", 1_000)
    await stage.at("source", "create table public.note (id bigint primary key, name text not null)")
    await stage.at("source", "insert into item values (1, 'a'), (2, repeat('x', 1000)), (3, 'c')")
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), out("public.item", "public.note"))
    collected = Collected()
    await (await broker.channel.get_queue("items")).consume(collected.take)
    async with stage.working():
        await eventually(lambda: came(collected, {1: ["a"], 3: ["c"]}))
        await stage.reach("streaming", name="out")
        await stage.at("source", "insert into note values (11, 'd'), (12, repeat('x', 1000)), (13, 'e')")
        await stage.at("source", "update item set name = 'b' where id = 2")
        await eventually(lambda: came(collected, {1: ["a"], 3: ["c"], 11: ["d"], 13: ["e"]}))
        # What is held counts, else the id of what stands behind it would be another one when it is sent again.
        assert collected.sequences[13].endswith("/00000003")

        async def held() -> bool:
            rows = await stage.answer("quarantine", "list", "out")
            return sorted((one["key"], one["problem"]["code"]) for one in rows) == HELD

        await eventually(held)
        # The large one itself must go; what follows it on its key is whole and can be sent.
        monkeypatch.setattr(target, "EVENT_BYTES", 10_000)
        await stage.nms("quarantine", "replay", "out", "--key", "2")
        await eventually(lambda: came_last(collected, 2, "b"))
    assert len(collected.ids) == 6
    assert {key.rpartition(".")[0] for key in collected.keys} == {"public.item", "public.note"}


async def test_fields_deep_in_a_message_find_their_columns(
    stage: Stage, broker: Broker, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.at("target", "create table public.person (email text primary key, tags text[], more jsonb, since date)")
    fields = {"user.email": "email", "user.tags": "tags", "user": "more", "since": "since"}
    datasets = [{"source": "items", "target": "public.person", "fields": fields, "key": ["user.email"]}]
    await stage.apply(*systems(stage, rabbitmq, monkeypatch), into(datasets=datasets))
    user = {"email": "a@example.org", "tags": ["x", 'say "y"']}
    event = {"specversion": "1.0", "id": "1", "source": "/crm", "type": "person", "data": {"user": user, "since": None}}
    async with stage.working():
        await broker.send("items", [event])
        await stage.arrive(
            "select tags[2] || (more #>> '{tags,0}') from public.person where since is null", ['say "y"x']
        )
        await broker.send("items", [{"user": {"email": "a@example.org"}, "since": "2026-01-02"}])
        await stage.arrive("select since::text || tags[1] from public.person", ["2026-01-02x"])


async def came(collected: Collected, names: dict[int, list[str]]) -> bool:
    return collected.names == names


async def came_last(collected: Collected, key: int, name: str) -> bool:
    return collected.names.get(key, [""])[-1] == name


async def has(broker: Broker, number: int) -> bool:
    return await broker.ready("items") == number
