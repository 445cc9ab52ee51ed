"""`POST /sync/{source}`: a source is brought here now, as a run that is seen, cancelled and taken over."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nms.common.document import normal_form
from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from tests.service.rest_stage import api, things
from tests.service.stage import Stage, pipeline
from tests.service.warehouse import entity, make_entities, serving
from tests.service.web_client import problem_of
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

THINGS = entity("things", {"id": "bigint", "name": "text"})
PARTS = entity("parts", {"id": "bigint", "name": "text"})
SCOPES = ("pipelines:read", "pipelines:write", "tasks:read", "tasks:write")


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def stage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """The warehouse with two entities; two pipelines bring an API there, and a third its log of a database."""
    for name, value in (("EGRESS_ALLOW", "127.0.0.1"), ("SYNC_LEASE", "1"), ("WAREHOUSE_LEASE", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WAREHOUSE_WORKER", "false")
    get_settings.cache_clear()
    assert settings.db_dwh_dsn is not None
    made = Stage(get_settings(), "", settings.db_dwh_dsn.get_secret_value())
    await make_entities(THINGS, PARTS)
    yield made
    await close_egress()


async def declare(stage: Stage, remote: HostileApi, *, latency: float = 0.0) -> None:
    for name in ("things", "parts"):
        remote.add(name, count=100, page_size=5, paging="cursor", latency=latency)
    resources = {
        name: {**things("cursor"), "path": f"/{name}", "record": f"/{name}/{{id}}"} for name in remote.resources
    }
    entities = [normal_form(one) for one in (THINGS, PARTS)]
    pulls = [into(name, source=name, target=name) for name in ("things", "parts")]
    dwh = {"kind": "system", "name": "dwh", "type": "warehouse"}
    await stage.apply(dwh, api(remote.url, resources), *entities, *pulls)


def into(name: str, **dataset: str) -> dict[str, Any]:
    ends = {"source": "api", "target": "dwh", "capture": "pull", "on_demand": True, "datasets": [dataset]}
    return {**pipeline(f"pull-{name}"), **ends}


def launch(log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        command = [sys.executable, "-m", "nms", "worker", "warehouse"]
        return subprocess.Popen(command, env={**os.environ}, stdout=output, stderr=output)


@asynccontextmanager
async def warehouse_worker(folder: Path) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """The worker of the warehouse in a process of its own, killed at the end of the block."""
    process = launch(folder / "warehouse.log")
    try:
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


class Watch:
    """A run as its observers see it; whatever it told before, it never tells less."""

    def __init__(self, client: httpx2.AsyncClient, place: str) -> None:
        self._client, self._place = client, place
        self.told: list[float] = []

    async def reach(self, *states: str, least: float = 0) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            task: dict[str, Any] = (await self._client.get(self._place)).json()
            self.told.append((task["progress"] or {}).get("current") or 0)
            return task if task["state"] in states and self.told[-1] >= least else None

        found = await eventually(look)
        assert self.told == sorted(self.told)
        return found


async def test_a_source_is_brought_here_and_its_run_tells_how_far_it_is(
    stage: Stage, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_WORKER", "true")
    await declare(stage, hostile_api)
    async with serving(stage.settings, *SCOPES) as client, stage.working():
        answer = await client.post("/sync/api")
        assert answer.status_code == 202
        task = await Watch(client, answer.headers["location"]).reach("succeeded", "failed")
        assert (task["state"], task["kind"], task["subject"]) == ("succeeded", "sync", "api")
        assert (task["progress"]["current"], task["progress"]["unit"]) == (200, "records")
        assert await stage.at("target", "select count(*) from entity.things") == [100]
        assert await stage.at("target", "select count(*) from entity.parts") == [100]
        runs = (await client.get("/sync/api")).json()
        assert [one["id"] for one in runs["items"]] == [task["id"]]


async def test_what_cannot_be_pulled_is_told(stage: Stage, hostile_api: HostileApi) -> None:
    await declare(stage, hostile_api)
    async with serving(stage.settings, *SCOPES) as client:
        for method in ("GET", "POST"):
            problem_of(await client.request(method, "/sync/nobody"), 404, "source-unpulled")
        for name in ("pull-things", "pull-parts"):
            await stage.nms("pause", name)
        problem = problem_of(await client.post("/sync/api"), 409, "nothing-to-pull")
        assert "pull-parts, pull-things" in problem["detail"]


async def test_a_round_that_fails_fails_the_pull_and_a_retry_asks_anew(
    stage: Stage, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_WORKER", "true")
    await declare(stage, hostile_api)
    await stage.nms("pause", "pull-parts")
    async with serving(stage.settings, *SCOPES) as client, stage.working():
        place = (await client.post("/sync/api")).headers["location"]
        task = await Watch(client, place).reach("failed")
        assert (task["problem"]["code"], task["problem"]["pipelines"]) == ("pull-failed", ["pull-parts"])
        await stage.nms("resume", "pull-parts")
        assert (await client.post(f"{place}/retry")).status_code == 202
        assert (await Watch(client, place).reach("succeeded", "failed"))["state"] == "succeeded"
    assert await stage.at("target", "select count(*) from entity.parts") == [100]


async def test_a_cancel_from_another_process_ends_the_pull_and_its_rounds(
    stage: Stage, hostile_api: HostileApi, tmp_path: Path
) -> None:
    await declare(stage, hostile_api, latency=0.5)
    async with serving(stage.settings, *SCOPES) as client, stage.working(), warehouse_worker(tmp_path):
        place = (await client.post("/sync/api")).headers["location"]
        watch = Watch(client, place)
        task = await watch.reach("running", least=5)
        assert (await client.post("/tasks/cancel", json={"id": task["id"]})).status_code == 202
        assert (await watch.reach("cancelled", "succeeded"))["state"] == "cancelled"

        async def ended() -> bool:
            return [one["state"] for one in await stage.answer("runs", "list", "--kind", "round")] == ["cancelled"] * 2

        await eventually(ended)
    assert len(await stage.at("target", "select id from entity.things")) < 100


async def test_the_pull_of_a_killed_worker_is_taken_over_and_tells_no_less(
    stage: Stage, hostile_api: HostileApi, tmp_path: Path
) -> None:
    await declare(stage, hostile_api, latency=0.2)
    async with serving(stage.settings, *SCOPES) as client, stage.working():
        async with warehouse_worker(tmp_path):
            watch = Watch(client, (await client.post("/sync/api")).headers["location"])
            first = (await watch.reach("running", least=5))["worker"]
        async with warehouse_worker(tmp_path):
            task = await watch.reach("succeeded", "failed")
    assert (task["state"], task["progress"]["current"]) == ("succeeded", 200)
    assert task["worker"] != first
    # Taken over, not asked again.
    assert len(hostile_api.journal.entries) < 60
