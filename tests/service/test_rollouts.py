"""Rollouts: who runs which revision; pipelines take a new one up without the role cfg."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from nms.cfg.main import create_app
from nms.cfg.repository import DocumentRepository
from nms.common import following, rollout
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from nms.common.waiting import first_of
from nms.sync import worker
from tests.conftest import MakeDatabase
from tests.fuzz.extent import Extent
from tests.service.inbox import receiving
from tests.service.role_process import running
from tests.service.stage import Stage, pipeline
from tests.service.watching import endpoint, publish, system
from tests.service.web_client import client_of
from tests.services.process import free_port
from tests.waiting import eventually

PROMISED_SECONDS = 2.0
"""Until a running pipeline notices a change."""
UNTOLD_SECONDS = 5.0
"""The same where the database tells of nothing: looks for changes, stops and runs stand one behind the other."""
OUTAGE_SECONDS, LONG_CHANGES = 600, 30
"""How long cfg is gone in `make fuzz`, and what changes meanwhile."""
PAUSE_SECONDS = 0.02
WITHOUT_NOTICE = """
do $$ declare tell record; begin
    for tell in select tgrelid::regclass as place, tgname from pg_trigger where tgfoid::regproc::text ~ '[.]tell_' loop
        execute format('alter table %s disable trigger %I', tell.place, tell.tgname);
    end loop;
end $$"""


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


async def test_a_worker_tells_which_revision_it_runs_and_when_it_is_gone(stage: Stage) -> None:
    await stage.begin()
    async with stage.working():
        (first,) = await eventually(lambda: rollouts(stage, "current"))
        assert (first["role"], first["revision"], first["newest"]) == ("sync", 1, 1)
        await stage.apply(pipeline(batch={"changes": 100}))
        (then,) = await eventually(lambda: rollouts(stage, "current", 2))
        assert (then["id"], then["revision"]) == (first["id"], 2)
        assert then["taken_at"] > first["taken_at"]
    assert await stage.answer("rollouts") == []


async def test_an_inbox_tells_which_revision_it_receives_by(settings: Settings, stage: Stage) -> None:
    await publish(system("crm"))
    async with receiving(settings):
        (first,) = await eventually(lambda: rollouts(stage, "current"))
        assert (first["role"], first["revision"]) == ("inbox", 1)
        await publish(endpoint("hook"))
        (then,) = await eventually(lambda: rollouts(stage, "current", 2))
        assert (then["id"], then["revision"]) == (first["id"], 2)
    assert await stage.answer("rollouts") == []


async def rollouts(stage: Stage, state: str, newest: int = 1) -> list[Any]:
    """The rollouts once there is one of this state."""
    found: list[Any] = await stage.answer("rollouts")
    return [each for each in found if (each["state"], each["newest"]) == (state, newest)]


async def test_who_is_behind_and_who_is_gone_is_told(settings: Settings, stage: Stage) -> None:
    await publish(system("crm"))
    await publish(system("billing"))
    pool = (await DocumentRepository.open()).connection
    for role, revision, age in (("a", 2, 0), ("b", 1, 0), ("c", None, 0), ("d", 2, 60), ("e", 2, 4000)):
        await pool.execute(
            "insert into common.rollout (id, role, host, pid, revision, seen_at)"
            " values ($1, $2, 'host', 7, $3, now() - make_interval(secs => $4))",
            *(uuid4(), role, revision, age),
        )
    async with client_of(create_app(settings), mint_token(settings, ["config:read"], subject="ada")) as client:
        found, address = [], "/rollouts?limit=2"
        while address:
            page = (await client.get(address)).json()
            found += [(each["role"], each["state"]) for each in page["items"]]
            address = f"/rollouts?limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == [("a", "current"), ("b", "behind"), ("c", "starting"), ("d", "gone")], "e is gone for long"
    assert (await stage.nms("rollouts")).exit_code == 3
    assert await shown(stage, "a b c d")


async def test_what_is_gone_for_long_is_cleared_away_now_and_then(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "PURGE_SECONDS", 0.1)
    monkeypatch.setattr(rollout, "BEAT_SECONDS", 0.1)
    pool = (await DocumentRepository.open()).connection
    async with rollout.reported("f"):
        await eventually(lambda: shown(stage, "f"))
        await pool.execute(
            "insert into common.rollout (id, role, host, pid, seen_at)"
            " values (gen_random_uuid(), 'e', 'host', 7, now() - interval '2 hours')"
        )
        await eventually(lambda: counted(1))
    assert await counted(0)


async def counted(rows: int) -> bool:
    pool = (await DocumentRepository.open()).connection
    return bool(await pool.fetchval("select count(*) from common.rollout") == rows)


async def test_a_worker_that_stops_takes_its_report_back_though_its_crew_is_gone_sooner(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rollout, worker):
        monkeypatch.setattr(module, "LEAVE_SECONDS", 60.0)
    pool = (await DocumentRepository.open()).connection
    async with pool.acquire() as connection:
        async with stage.working():
            await eventually(lambda: shown(stage, "sync"))
            held = connection.transaction()
            await held.start()
            await connection.execute("lock table common.rollout in share mode")
            releasing = asyncio.create_task(release(held))
        await releasing
    assert await counted(0)


async def release(held: Any) -> None:
    """End a transaction once the report waits to be taken back, and the crew hears of no runs any more."""
    pool = (await DocumentRepository.open()).connection
    alone = (
        "select bool_or(wait_event_type = 'Lock' and query like '%delete from common.r%')"
        " and not bool_or(query ilike 'listen%nms_run%') from pg_stat_activity where datname = current_database()"
    )
    try:
        await eventually(lambda: pool.fetchval(alone))
    finally:
        await held.rollback()


async def shown(stage: Stage, roles: str) -> bool:
    return [each["role"] for each in await stage.answer("rollouts")] == roles.split()


@pytest.fixture
async def streaming(stage: Stage, tmp_path: Path) -> AsyncIterator[Stage]:
    """The pipeline, as the process of a worker moves it."""
    await stage.begin()
    async with running("nms.sync.main:app", tmp_path, environment=of_databases(stage)):
        await stage.reach("streaming")
        yield stage


@pytest.mark.fuzz
async def test_a_pipeline_takes_changes_up_within_two_seconds_though_cfg_is_killed(
    streaming: Stage, tmp_path: Path, extent: Extent
) -> None:
    async with running("nms.cfg.main:app", tmp_path, environment=of_databases(streaming)) as role:
        role.process.kill()
        role.process.wait()
    noticed, count = [], extent.choose(2, LONG_CHANGES)
    async with passing(streaming) as passed:
        for number in range(count):
            await first_of(asyncio.Event(), timeout=extent.choose(0, OUTAGE_SECONDS) / count)
            await store(streaming, number, tmp_path if number % 2 else None)
            noticed.append(await taken_up(streaming, number, PROMISED_SECONDS))
    extent.told.append(told(f"changes of a pipeline while cfg was away, {passed[0]} rows moved, 0 lost", noticed))


@pytest.mark.fuzz
async def test_a_change_that_no_notice_tells_of_is_taken_up_at_the_next_look(streaming: Stage, extent: Extent) -> None:
    dsn = of_databases(streaming)["DB_NMS_DSN"]
    await streaming.at(dsn, WITHOUT_NOTICE)
    await streaming.at(dsn, "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
    noticed = []
    async with passing(streaming) as passed:
        for number in range(extent.choose(1, LONG_CHANGES)):
            await store(streaming, number)
            noticed.append(await taken_up(streaming, number, UNTOLD_SECONDS))
    extent.told.append(told(f"changes that no notice told of, {passed[0]} rows moved, 0 lost", noticed))


async def test_a_change_is_taken_up_though_the_broker_that_would_tell_of_it_is_away(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.5)
    monkeypatch.setenv("AMQP_DSN", f"amqp://a:b@127.0.0.1:{free_port()}/")
    get_settings.cache_clear()
    stage = await Stage.set(get_settings(), await make_database(), await make_database())
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
        await store(stage, 0)
        await eventually(lambda: works(stage, 2))


def told(what: str, seconds: list[float]) -> str:
    return f"{len(seconds)} {what}: noticed within {median(seconds):.2f} s (p50), {max(seconds):.2f} s (max)"


async def store(stage: Stage, number: int, folder: Path | None = None) -> None:
    """Change the pipeline by a command over a folder, or as the role cfg does, which only tells of it."""
    changed = pipeline(batch={"changes": 100 + number})
    if folder is None:
        await publish(changed)
        return
    (folder / "changed.yaml").write_text(json.dumps(changed))
    done = await stage.nms("apply", "-f", folder / "changed.yaml")
    assert done.exit_code == 0, done.output


async def taken_up(stage: Stage, number: int, promised: float) -> float:
    """Seconds until a run works the pipeline by the revision of this change."""
    clock = asyncio.get_running_loop().time
    stored = clock()
    await eventually(lambda: works(stage, number + 2), promised)
    return clock() - stored


def of_databases(stage: Stage) -> dict[str, str]:
    dsn = stage.settings.db_nms_dsn
    assert dsn is not None
    return {"DB_NMS_DSN": dsn.get_secret_value()}


async def works(stage: Stage, revision: int) -> bool:
    """Whether a run that began behind the revision works the pipeline by it."""
    pool = (await DocumentRepository.open()).connection
    begun = await pool.fetchval(
        "select exists (select from common.run as r join cfg.revision as v on r.created_at > v.created_at"
        " where r.state = 'running' and r.kind = 'pipeline' and v.id = $1)",
        revision,
    )
    return begun and (await stage.get()).revision == revision


@asynccontextmanager
async def passing(stage: Stage) -> AsyncIterator[list[int]]:
    """Rows come all the time, and each is there at the end; gives how many."""
    passed, stop = [0], asyncio.Event()

    async def write() -> None:
        connection = await asyncpg.connect(stage.source)
        while not stop.is_set():
            await connection.execute("insert into item values ($1, 'x')", passed[0])
            passed[0] += 1
            await first_of(stop, timeout=PAUSE_SECONDS)
        await connection.close()

    writing = asyncio.create_task(write())
    try:
        yield passed
    finally:
        stop.set()
        await writing
    await stage.arrive("select count(*) from item", [passed[0]])
    assert await stage.at("target", "select id from item order by 1") == list(range(passed[0]))
