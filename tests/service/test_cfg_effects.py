"""What a plan says will follow is what the worker does, case by case beside a real one."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from nms.cfg.documents import plan_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.inbox import SECRET, SHOP, declare, receiving, signed
from tests.service.stage import PREPARE, TABLE, Stage, pipeline
from tests.waiting import eventually

TABLES = "create table public.more (id bigint primary key, name text, extra text)"
FILL = "insert into public.item values (1, 'a'), (2, 'b'); insert into public.more values (1, 'a', 'x'), (2, 'b', 'y')"
NEWER, BODY = "another-secret-of-a-hook", b'{"n": 1}'
ITEM, MORE = {"source": "public.item"}, {"source": "public.more", "fields": ["id", "name"]}


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    stage = await Stage.set(settings, await make_database(), await make_database())
    for side in ("source", "target"):
        await stage.at(side, TABLES)
    await stage.at("source", FILL)
    return stage


async def effects(*bodies: dict[str, Any]) -> list[str]:
    """The sentences of the plan of these documents, besides that the pipeline restarts."""
    plan = await plan_changeset(await DocumentRepository.open(), Changeset([Draft(body) for body in bodies]))
    told = [sentence for each in plan.differences for sentence in each.effects]
    return [sentence for sentence in told if sentence != "pipeline items restarts"]


def mapped(*datasets: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**pipeline(), "datasets": list(datasets), **parts}


async def turn(stage: Stage, body: dict[str, Any]) -> list[str]:
    """Apply a pipeline; gives what its plan said."""
    told = await effects(body)
    await stage.apply(body)
    return told


async def change(stage: Stage, number: int) -> None:
    await stage.at("source", f"update public.more set name = 'at {number}' where id = 1")
    await stage.arrive("select name from public.more where id = 1", [f"at {number}"])


async def test_tables_come_and_go_as_the_plan_says(stage: Stage) -> None:
    async with stage.working():
        first = [*stage.systems(), mapped(ITEM)]
        assert await effects(*first) == ["pipeline items starts", "table public.item is copied"]
        await stage.apply(*first)
        await stage.arrive("select id from public.item order by id", [1, 2])
        assert await turn(stage, mapped(ITEM, MORE)) == ["table public.more is copied, and the others go on"]
        await stage.arrive("select id from public.more order by id", [1, 2])
        wider = mapped(ITEM, {"source": "public.more"})
        assert await turn(stage, wider) == [
            "table public.more is written so from its next changes on; `nms resync items` does it to its older rows"
        ]
        await change(stage, 1)
        assert await stage.at("target", "select extra from public.more order by id") == ["x", None]
        assert await turn(stage, mapped({"source": "public.more"})) == [
            "table public.item is followed no more; its rows at the target stay"
        ]
        await stage.at("source", "delete from public.item")
        await change(stage, 2)
        assert await stage.at("target", "select id from public.item order by id") == [1, 2]
        assert await turn(stage, mapped({"source": "public.more", "where": {"id": 1}})) == [
            "pipeline items waits until `nms resync items`: rows of public.more at the target came by another filter"
        ]
        assert "filter" in str((await stage.reach("halted")).problem)


async def test_another_capture_copies_again_as_the_plan_says(stage: Stage) -> None:
    async with stage.working():
        await stage.apply(*stage.systems(), mapped(ITEM))
        await stage.arrive("select id from public.item order by id", [1, 2])
        for capture in ("poll", "log"):
            # Only a copy finds a row that somebody took away behind its back.
            await stage.at("target", "delete from public.item where id = 2")
            assert await turn(stage, mapped(ITEM, capture=capture)) == ["table public.item is copied again"]
            await stage.arrive("select id from public.item order by id", [1, 2])
        await stage.at("target", "delete from public.item where id = 2")
        compared = mapped(ITEM, capture="compare", every="1s")
        assert await turn(stage, compared) == ["pipeline items compares its tables whole in its next round"]
        await stage.arrive("select id from public.item order by id", [1, 2])


async def test_a_system_that_moves_has_its_pipelines_wait_as_the_plan_says(
    stage: Stage, make_database: MakeDatabase
) -> None:
    other = await make_database()
    await stage.at(other, TABLE)
    async with stage.working():
        await stage.apply(*stage.systems(), mapped(ITEM))
        await stage.arrive("select id from public.item order by id", [1, 2])
        (moved,) = stage.systems(source=other)
        told = await effects(moved)
        assert told[0].startswith("system source moves from postgresql://")
        assert told[0].endswith(": pipeline items reconnects")
        assert told[1:] == [
            "pipeline items waits where that is another database, until `nms resync items` copies it anew",
            "slot nms_items stays at the old database, which keeps log for it until it is dropped there: "
            "before the resync where both are of one server",
        ]
        await stage.apply(moved)
        finding = ((await stage.reach("halted")).problem or {})["findings"][0]
        assert finding["code"] == "slot-taken"
        assert "pg_drop_replication_slot('nms_items')" in finding["remedy"]
        await stage.at("source", "select pg_drop_replication_slot('nms_items')")
        await stage.at(other, "insert into public.item values (7, 'there')")
        await stage.nms("resync", "items", "--yes")
        await stage.arrive("select id from public.item order by id", [7])


async def test_a_target_that_moves_has_its_pipelines_wait_as_the_plan_says(
    stage: Stage, make_database: MakeDatabase
) -> None:
    other = await make_database()
    for sql in (TABLE, PREPARE.read_text()):
        await stage.at(other, sql)
    async with stage.working():
        await stage.apply(*stage.systems(), mapped(ITEM))
        await stage.arrive("select id from public.item order by id", [1, 2])
        await stage.reach("streaming")
        (moved,) = stage.systems(target=other)
        assert (await effects(moved))[1:] == [
            "pipeline items waits where that is another database, until `nms resync items` copies it anew"
        ]
        await stage.apply(moved)
        assert ((await stage.reach("halted")).problem or {})["code"] == "target-behind"
        await stage.nms("resync", "items", "--yes")

        async def copied() -> bool:
            return await stage.at(other, "select id from public.item order by id") == [1, 2]

        await eventually(copied)


async def test_a_pipeline_that_goes_gives_back_its_slot_as_the_plan_says(stage: Stage) -> None:
    repository = await DocumentRepository.open()
    async with stage.working():
        await stage.apply(*stage.systems(), mapped(ITEM, MORE, initial="none"))
        await stage.reach("streaming")
        await stage.apply(*stage.systems(), mapped(ITEM, MORE, initial="none", shared=True))
        plan = await plan_changeset(repository, Changeset([Draft(one) for one in stage.systems()], prune=True))
        [difference] = plan.differences
        assert difference.effects == (
            "pipeline items is stopped and gives back what it holds at its ends; its rows stay",
        )


async def test_an_endpoint_changes_what_it_believes_and_what_it_takes_for_a_duplicate_as_the_plan_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    monkeypatch.setenv("NEW_HOOK", NEWER)
    by_path = {**SHOP, "id": {"path": "n"}}
    changed = {**by_path, "scheme": {"type": "github", "secrets": ["env://NEW_HOOK"]}}
    other = {**by_path, "scheme": {"type": "shopify", "secrets": ["env://NEW_HOOK"]}}
    told = "env://NEW_HOOK is believed from now on; env://SHOP_HOOK is believed no more"
    async with receiving(settings) as client:
        assert await declared(SHOP) == ["endpoint shop receives at /in/shop"]
        await eventually(lambda: answers(client, SECRET, 202))
        assert await declared(by_path) == ["endpoint shop tells duplicates by something else from now on"]
        await eventually(lambda: answers(client, SECRET, 200))
        assert await declared(changed) == [f"endpoint shop changes its secret: {told}"]
        await eventually(lambda: answers(client, SECRET, 401))
        assert await answers(client, NEWER, 200)
        assert await declared(other) == ["endpoint shop believes other requests: its scheme becomes shopify"]
        await eventually(lambda: answers(client, NEWER, 401))
        plan = await plan_changeset(await DocumentRepository.open(), Changeset([], prune=True))
        assert plan.differences[0].effects == (
            "endpoint shop receives no more; what it received is kept for a week as if it were there",
        )


async def declared(document: dict[str, Any]) -> list[str]:
    told = await effects(document)
    await declare(document)
    return told


async def answers(client: httpx2.AsyncClient, secret: str, status: int) -> bool:
    """Whether one more delivery, always of the same body, is answered so."""
    headers = signed(BODY, str(uuid4()), secret)
    return (await client.post("/in/shop", content=BODY, headers=headers)).status_code == status
