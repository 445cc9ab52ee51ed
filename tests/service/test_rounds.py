"""Rounds on demand: they begin when asked for, and what asks for them ends when all of it is at the target."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.sync.main import create_app
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline
from tests.waiting import eventually

DEMAND: dict[str, Any] = {"capture": "poll", "on_demand": True}
STUCK = "select count(*) from pg_locks where locktype = 'advisory' and objid = 7 and not granted"
GATE = """
create function public.wait() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock(7); return new; end $$;
create trigger wait before insert on public.item for each row execute function public.wait()
"""
IDS = "select id from public.item order by id"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    made = await Stage.set(settings, await make_database(), await make_database())
    for side in ("source", "target"):
        await made.at(side, "create table public.part (id bigint primary key, item bigint references public.item)")
    return made


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    token = mint_token(settings, ["pipelines:write", "tasks:read", "tasks:write"], subject="ada")
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app=create_app(settings))
    async with httpx2.AsyncClient(transport=transport, base_url="http://sync", headers=headers) as client:
        yield client


async def rows(stage: Stage, count: int) -> None:
    await stage.at("source", f"insert into public.item select n, 'old' from generate_series(1, {count}) n")


async def ended(client: httpx2.AsyncClient, asked: httpx2.Response) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        task: dict[str, Any] = (await client.get(asked.headers["Location"])).json()
        return task if task["state"] in ("succeeded", "failed", "cancelled") else None

    assert asked.status_code == 202, asked.text
    return await eventually(look)


@asynccontextmanager
async def round_held_up(stage: Stage, client: httpx2.AsyncClient) -> AsyncIterator[httpx2.Response]:
    """A round whose first row waits at the target until the block ends."""

    async def stuck() -> bool:
        return await stage.at("target", STUCK) == [1]

    holder = await asyncpg.connect(stage.target)
    try:
        await holder.execute("select pg_advisory_lock(7)")
        asked = await client.post("/pipelines/items/run")
        await eventually(stuck)
        yield asked
    finally:
        await holder.close()


@pytest.mark.parametrize("capture", ["poll", "compare"])
async def test_rounds_begin_when_asked_for_and_their_runs_end_when_all_has_arrived(
    stage: Stage, client: httpx2.AsyncClient, capture: str
) -> None:
    await rows(stage, 5)
    await stage.begin(capture=capture, on_demand=True)
    async with stage.working():
        await stage.reach("streaming", "copying")
        assert await stage.at("target", IDS) == []
        task = await ended(client, await client.post("/pipelines/items/run"))
        assert (task["kind"], task["subject"], task["state"]) == ("round", "items", "succeeded")
        assert (task["progress"]["current"], task["progress"]["unit"]) == (5, "records")
        assert await stage.at("target", IDS) == [1, 2, 3, 4, 5]
        await stage.at("source", "insert into public.item values (6, 'new')")
        task = await ended(client, await client.post("/pipelines/items/run"))
        assert (task["state"], task["progress"]["current"]) == ("succeeded", 1)
        for number in range(10, 13):
            first = await client.post("/pipelines/items/run")
            await stage.at("source", f"insert into public.item values ({number}, 'during a round')")
            second = await client.post("/pipelines/items/run")
            assert (await ended(client, second))["state"] == (await ended(client, first))["state"] == "succeeded"
            assert number in await stage.at("target", IDS)
        await stage.at("target", "delete from public.item")
        assert (await client.post("/pipelines/items/resync")).status_code == 202
        await stage.arrive(IDS, [1, 2, 3, 4, 5, 6, 10, 11, 12])


async def test_asks_outlive_workers_and_a_cancelled_round_is_broken_off(
    stage: Stage, client: httpx2.AsyncClient
) -> None:
    await rows(stage, 3)
    await stage.begin(**DEMAND)
    asked = await client.post("/pipelines/items/run")
    async with stage.working():
        assert (await ended(client, asked))["state"] == "succeeded"
    await stage.at("source", "insert into public.item values (4, 'later')")
    await stage.at("target", GATE)
    async with stage.working():
        await stage.reach("streaming")
        async with round_held_up(stage, client) as asked:
            # The first ask was served once: it is the second that waits here.
            assert await stage.at("target", IDS) == [1, 2, 3]
            assert (await client.post(asked.headers["Location"] + "/cancel")).status_code == 202
            assert (await ended(client, asked))["state"] == "cancelled"
        await stage.reach("streaming")
        assert await stage.at("target", IDS) == [1, 2, 3]
        retried = await client.post(asked.headers["Location"] + "/retry")
        retried.headers["Location"] = asked.headers["Location"]
        assert (await ended(client, retried))["state"] == "succeeded"
        assert await stage.at("target", IDS) == [1, 2, 3, 4]


async def test_the_command_runs_pipelines_in_order_and_refuses_what_cannot_run(
    stage: Stage, client: httpx2.AsyncClient
) -> None:
    await rows(stage, 4)
    await stage.at("source", "insert into public.part select n, n from generate_series(1, 4) n")
    items, parts = ({**pipeline(name, f"public.{name}"), **DEMAND} for name in ("item", "part"))
    logged = {**pipeline("logged"), "datasets": [{"source": "public.item", "target": "public.other"}]}
    await stage.apply(*stage.systems(), items, parts, logged)
    async with stage.working():
        for name, code in (("absent", "not-found"), ("logged", "no-rounds")):
            answer = await stage.nms("pipelines", "run", "item", name)
            assert (answer.exit_code, code in answer.stderr) == (1, True)
        assert await stage.at("target", IDS) == []
        answer = await stage.nms("pipelines", "run", "item", "part")
        assert answer.exit_code == 0, answer.output
        assert [line.partition(" in ")[0] for line in answer.stdout.splitlines()] == [
            "item: 4 records",
            "part: 4 records",
        ]
        assert (await stage.answer("pipelines", "run", "item"))["run"]["state"] == "succeeded"
        assert (await stage.answer("pipelines", "run", "item", "--no-wait"))["run"]["kind"] == "round"
        await stage.nms("pause", "item")
        refused = await client.post("/pipelines/item/run")
        assert (refused.status_code, refused.json()["code"]) == (409, "pipeline-paused")
        await stage.at("target", "drop table public.part")
        await stage.at("source", "insert into public.part values (5, 4)")
        answer = await stage.nms("pipelines", "run", "part")
        assert (answer.exit_code, "pipeline-halted" in answer.stderr, "part" in answer.stderr) == (1, True, True)
        assert (await client.post("/pipelines/part/run")).json()["code"] == "pipeline-halted"
