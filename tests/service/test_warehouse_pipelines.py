"""The warehouse as a target and as a source: every capture ends in an entity, with its lineage, and changes go on."""

import asyncio
from typing import Any

import pytest

from nms.common.document import EntityDocument, normal_form
from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.warehouse import document as following
from tests.conftest import MakeDatabase
from tests.service.inbox import SECRET, SHOP, receiving, send
from tests.service.rest_examples import run
from tests.service.rest_stage import api, things
from tests.service.stage import PREPARE, Stage, pipeline
from tests.service.test_entity_evolution import reach
from tests.service.test_entity_evolution import working as building
from tests.service.warehouse import entity, make_entities
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

WAREHOUSE = {"kind": "system", "name": "dwh", "type": "warehouse"}
ITEMS = entity("items", {"id": "bigint", "name": "text"})
THINGS = entity("things", {"id": "bigint", "name": "text", "reference": "text"})
LINEAGE = (
    "select concat_ws(' ', id, name, _source, _external_id, coalesce(_raw::text, '-')) from entity.items order by id"
)


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    """A source database beside the warehouse, which is the stage's target; the entities are declared and built."""
    assert settings.db_dwh_dsn is not None
    made = Stage(settings, await make_database(), settings.db_dwh_dsn.get_secret_value())
    await made.at("source", "create table public.item (id bigint primary key, name text)")
    await make_entities(ITEMS, THINGS)
    await made.apply(*made.systems(crm=made.source), WAREHOUSE, declared(ITEMS), declared(THINGS))
    return made


def declared(document: EntityDocument) -> dict[str, Any]:
    return normal_form(document)


def into(**parts: Any) -> dict[str, Any]:
    ends = {"source": "crm", "target": "dwh", "datasets": [{"source": "public.item", "target": "items"}]}
    return {**pipeline(), **ends, **parts}


async def test_a_text_too_long_for_the_index_of_an_entity_is_held_and_the_others_go_on(stage: Stage) -> None:
    indexed = entity("indexed", {"id": "bigint", "name": {"type": "text", "index": True}})
    await make_entities(indexed)
    letters = "".join(chr(0x4E00 + (n * n * 7919) % 20_000) for n in range(3_000))
    await stage.at("source", f"insert into item values (1, 'a'), (2, '{letters}')")
    await stage.apply(declared(indexed), into(datasets=[{"source": "public.item", "target": "indexed"}]))
    async with stage.working():
        await stage.arrive("select id from entity.indexed order by id", [1])
        await stage.at("source", f"insert into item values (3, '{letters}'), (4, 'd')")
        await stage.arrive("select id from entity.indexed order by id", [1, 4])
    held = await stage.answer("quarantine", "list", "items")
    assert [one["problem"]["code"] for one in held] == ["target-refused"] * 2
    assert all("index" in one["problem"]["detail"] for one in held)


@pytest.mark.parametrize("capture", ["log", "poll", "compare"])
async def test_tables_land_in_an_entity_with_their_lineage(stage: Stage, capture: str) -> None:
    await stage.at("source", "insert into item values (1, 'a'), (2, 'b')")
    rounds = {} if capture == "log" else {"every": "1s"}
    # Somebody else's record of the same entity.
    await stage.at("target", "insert into entity.items (id, name) values (9, 'mine')")
    await stage.apply(into(capture=capture, **rounds))
    async with stage.working():
        await stage.arrive(LINEAGE, ["1 a crm 1 -", "2 b crm 2 -", "9 mine local -"])
        await stage.at("source", "update item set name = 'c' where id = 1; insert into item values (3, 'd')")
        await stage.arrive(LINEAGE, ["1 c crm 1 -", "2 b crm 2 -", "3 d crm 3 -", "9 mine local -"])
        if capture != "poll":
            await stage.at("source", "delete from item where id = 2; update item set id = 4 where id = 3")
            await stage.arrive(LINEAGE, ["1 c crm 1 -", "4 d crm 4 -", "9 mine local -"])
        if capture == "log":
            await stage.at("source", "delete from item where id = 1")
            assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
            await stage.arrive(LINEAGE, ["4 d crm 4 -", "9 mine local -"])
    assert await stage.at("target", "select _json from entity.items where id = 4 or id = 2 order by id") != []
    assert await stage.at("target", "select count(*) from nms.position where pipeline = 'items'") == [1]


@pytest.mark.parametrize("absent", ["keep", "null"])
async def test_pages_of_an_api_land_as_records_with_what_came(
    stage: Stage, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    hostile_api.add("things", count=25, page_size=10)
    datasets = [{"source": "things", "target": "things"}]
    reading = into(source="api", capture="pull", on_demand=True, datasets=datasets)
    await stage.apply(api(hostile_api.url, {"things": things(absent=absent)}), reading)
    async with stage.working():
        assert await run(stage, "items") == ["items: 25 records"]
        sequences = "select _sequence from entity.things order by id"
        before = await stage.at("target", sequences)
        assert len(before) == 25
        # What came once more as it was is written once.
        hostile_api.write("things", {"name": "changed"}, 7)
        await run(stage, "items")
    changed = [new for old, new in zip(before, await stage.at("target", sequences), strict=True) if new != old]
    assert len(changed) == 1
    told = "select _source || _external_id || (_raw ->> 'name' = name) || (_raw ? 'updated_at') from entity.things"
    assert sorted(await stage.at("target", told)) == sorted(f"api{n}truetrue" for n in range(1, 26))
    await close_egress()


async def test_webhooks_land_as_records_with_what_came(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    hooks = {"items": {"endpoint": "shop", "records": "item", "deleted": "deleted"}}
    inbox = {"kind": "system", "name": "hooks", "type": "inbox", "resources": hooks}
    feeding = into(source="hooks", capture="feed", datasets=[{"source": "items", "target": "items"}])
    await stage.apply(SHOP, inbox, feeding)
    async with receiving(stage.settings) as client, stage.working():
        await send(client, b'{"item": {"id": 1, "name": "a", "more": {"x": "\\u0000\\\\u0000", "n": 1.10}}}', "one")
        await stage.arrive(
            LINEAGE,
            ['1 a hooks 1 {"id": 1, "more": {"n": 1.10, "x": "\ufffd\\\\u0000"}, "name": "a"}'],
        )
        # A field that an event lacks stays; what came last is what came.
        await send(client, b'{"item": {"id": 1, "other": 5}}', "two")
        await stage.arrive(LINEAGE, ['1 a hooks 1 {"id": 1, "other": 5}'])
        await send(client, b'{"item": {"id": 1, "deleted": true}}', "three")
        await stage.arrive(LINEAGE, [])


async def test_changes_of_an_entity_go_on_to_a_table(stage: Stage) -> None:
    going = into(source="dwh", target="crm", datasets=[{"source": "items", "target": "public.item"}])
    await stage.at("source", PREPARE.read_text())
    await stage.at("target", "insert into entity.items (id, name) values (1, 'a')")
    await stage.apply(going)
    names = "select concat_ws(' ', id, name) from item order by id"
    async with stage.working():
        await eventually(lambda: _answers(stage, names, ["1 a"]))
        await stage.at(
            "target", "insert into entity.items values (2, 'b'); update entity.items set name = 'c' where id = 1"
        )
        await eventually(lambda: _answers(stage, names, ["1 c", "2 b"]))
        await stage.at("target", "delete from entity.items where id = 1")
        await eventually(lambda: _answers(stage, names, ["2 b"]))


async def test_a_pipeline_waits_for_its_entity_and_goes_on_once_it_is_built(stage: Stage) -> None:
    await stage.at("source", "insert into item values (1, 'a')")
    later = entity("later", {"id": "bigint", "name": "text"})
    await stage.apply(declared(later), into(datasets=[{"source": "public.item", "target": "later"}]))
    async with stage.working():
        waiting = await stage.reach("retrying")
        assert waiting.problem is not None
        assert waiting.problem["code"] == "entity-not-built"
        told = await stage.nms("doctor", "items")
        assert "entity later has no table yet" in told.output
        await make_entities(later)
        await stage.arrive("select name from entity.later", ["a"])


async def test_an_entity_may_get_fields_and_indexes_while_a_pipeline_writes_into_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    wider = entity("grown", {"more": "text", "id": "bigint", "name": {"type": "text", "index": True}})
    done = asyncio.Event()

    async def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            await stage.at(
                "source",
                f"insert into item values ({number}, 'a'); update item set name = 'b' where id = {number // 2}",
            )

    narrow = entity("grown", {"id": "bigint", "name": "text"})
    await stage.apply(declared(narrow), into(datasets=[{"source": "public.item", "target": "grown"}]))
    async with building(), stage.working(), asyncio.TaskGroup() as group:
        await reach("grown", "ready", narrow)
        writing = group.create_task(write())
        await stage.arrive("select true from entity.grown where id = 10", [True])
        await stage.apply(declared(wider))
        await reach("grown", "ready", wider)
        done.set()
        await writing
        names = await stage.at("source", "select concat_ws(' ', id, name) from item order by id")
        await stage.arrive("select concat_ws(' ', id, name) from entity.grown order by id", names)
        assert await stage.at("target", "select true from entity.grown where _json not like '{\"more\":null,%'") == []
        assert (await stage.get()).problem is None


async def _answers(stage: Stage, sql: str, expected: list[str]) -> bool:
    return await stage.at("source", sql) == expected
