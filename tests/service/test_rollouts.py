"""Rollouts: who runs which revision; pipelines take a new one up without the role cfg."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nms.cfg.main import create_app
from nms.cfg.repository import DocumentRepository
from nms.common import rollout
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.conftest import MakeDatabase
from tests.fuzz.extent import Extent
from tests.service.inbox import receiving
from tests.service.role_process import running
from tests.service.stage import Stage, pipeline
from tests.service.watching import endpoint, publish, system
from tests.service.web_client import client_of
from tests.waiting import eventually

PROMISED_SECONDS = 2.0
"""Until a running pipeline notices a change."""
OUTAGE_SECONDS = 600
"""How long cfg is gone in `make fuzz`."""


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
    assert found == [("a", "current"), ("b", "behind"), ("c", "starting"), ("d", "gone"), ("e", "gone")]
    assert (await stage.nms("rollouts")).exit_code == 3
    # Whoever comes next clears away what is gone for long.
    async with rollout.reported("f"):
        await eventually(lambda: shown(stage, "a b c d f"))
    assert await shown(stage, "a b c d")


async def shown(stage: Stage, roles: str) -> bool:
    return [each["role"] for each in await stage.answer("rollouts")] == roles.split()


@pytest.mark.fuzz
async def test_a_pipeline_takes_a_change_up_within_two_seconds_though_cfg_is_killed(
    stage: Stage, tmp_path: Path, extent: Extent
) -> None:
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
        async with running("nms.cfg.main:app", tmp_path, environment=of_databases(stage)) as role:
            role.process.kill()
            role.process.wait()
            await pass_rows(stage, 1, extent.choose(0, OUTAGE_SECONDS))
            before = await newest_run()
            changed = pipeline(batch={"changes": 100})
            (tmp_path / "changed.yaml").write_text(json.dumps(changed))
            done = await stage.nms("apply", "-f", tmp_path / "changed.yaml")
            assert done.exit_code == 0, done.output
            await eventually(lambda: works(stage, 2, before), PROMISED_SECONDS)
            await pass_rows(stage, 1_000_000, 0)


def of_databases(stage: Stage) -> dict[str, str]:
    dsn = stage.settings.db_nms_dsn
    assert dsn is not None
    return {"DB_NMS_DSN": dsn.get_secret_value()}


async def newest_run() -> int:
    """The number of the run that works the pipeline, 0 while none does."""
    pool = (await DocumentRepository.open()).connection
    return int(await pool.fetchval("select coalesce(max(id), 0) from common.run where state = 'running'"))


async def works(stage: Stage, revision: int, before: int) -> bool:
    """Whether the pipeline is worked anew, with the documents of a revision."""
    return (await stage.get()).revision == revision and await newest_run() > before


async def pass_rows(stage: Stage, first: int, seconds: float) -> None:
    """Rows arrive, one behind the other, for so long; at least one does."""
    clock = asyncio.get_running_loop().time
    until, number = clock() + seconds, first
    while number == first or clock() < until:
        await stage.at("source", f"insert into item values ({number}, 'x')")
        await stage.arrive("select max(id) from item", [number])
        number += 1
