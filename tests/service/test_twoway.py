"""Pipelines that go both ways, through documents and a worker: both sides end alike, and then nothing is written."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.connectors.postgres.twoway.opening import PREPARE
from nms.sync.pipeline import adopt
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase
from tests.fuzz.extent import Extent
from tests.service.rest_stage import api, begin, make_stage, things
from tests.service.stage import Stage
from tests.service.storm import FIELDS, Storm, alike, rounds, served, written
from tests.service.test_kafka_pipelines import worker_process
from tests.services.hostile.api import HostileApi

WRITES = {
    "create": {"method": "PUT", "path": "/things/{id}"},
    "update": {"method": "PATCH", "path": "/things/{id}"},
    "delete": {"method": "DELETE", "path": "/things/{id}"},
    "precondition": "etag",
}


def both(**parts: Any) -> dict[str, Any]:
    """The document of a two-way pipeline between the resource and the table `things`."""
    return {
        "kind": "pipeline", "name": "items", "source": "api", "target": "target", "capture": "pull", "every": "1s",
        "direction": "two-way", "datasets": [{"source": "things", "target": "public.things", "fields": FIELDS}],
        **parts,
    }  # fmt: skip


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("SYNC_LEASE", "1")
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    stage = await make_stage(get_settings(), await make_database())
    await stage.at("target", PREPARE)
    yield stage
    await close_egress()


@pytest.mark.parametrize("back", ["log", "poll"])
async def test_both_sides_follow_each_other(stage: Stage, hostile_api: HostileApi, back: str) -> None:
    hostile_api.add("things", count=5, upsert=True, etag="strong")
    await stage.at("target", "insert into public.things values (9, 'here', 'only here', 1)")
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), both(back=back))
    async with stage.working():
        await alike(stage, hostile_api)
        assert hostile_api.records("things")[9]["name"] == "only here"
        await rounds(stage, 2)
        looked = (await stage.get()).status["back"]["looked_up"]
        hostile_api.write("things", {"name": "no echo"}, 4)
        await alike(stage, hostile_api)
        await rounds(stage, 2)
        told = (await stage.get()).status["back"]
        # What came from there is not even looked up there, and by the log not even read.
        assert (told["looked_up"], told["echoes"]) == (looked, 0)
        await stage.at("target", "update public.things set name = 'ours' where id = 1")
        await stage.at("target", "delete from public.things where id = 2")
        await stage.at("target", "insert into public.things values (20, 'new', null, 3)")
        hostile_api.write("things", {"name": "theirs"}, 3)
        hostile_api.write("things", {"name": "created there"})
        await alike(stage, hostile_api)
        names = {number: record["name"] for number, record in hostile_api.records("things").items()}
        assert names[1] == "ours"
        assert names[3] == "theirs"
        assert names[10] == "created there"
        assert sorted(names) == [1, 3, 4, 5, 9, 10, 20]
        await remove(stage)
        await stage.arrive(LEFT, [0])


LEFT = """
select (select count(*) from pg_replication_slots where database = current_database())
    + (select count(*) from nms.base) + (select count(*) from nms.position)
"""


async def remove(stage: Stage) -> None:
    """Take the pipeline's document away."""
    kept = [Draft(one) for one in stage.systems(target=stage.target)]
    repository = await DocumentRepository.open()
    await apply_changeset(repository, Changeset(kept, prune=True))
    await adopt(await SyncRepository.open())


@pytest.mark.parametrize("policy", ["merge", "source", "newest"])
async def test_a_storm_of_edits_ends_with_both_sides_alike_and_nothing_more_written(
    stage: Stage, hostile_api: HostileApi, policy: str, extent: Extent
) -> None:
    count = 100 if extent.long else 20
    storm = await set_out(stage, hostile_api, policy, count)
    async with stage.working():
        await alike(stage, hostile_api)
        await storm.blow(60.0 if extent.long else 1.5, 0.05)
        await come_to_rest(storm, policy)


async def test_a_storm_is_survived_by_a_worker_that_is_killed(
    stage: Stage, hostile_api: HostileApi, extent: Extent, tmp_path: Path
) -> None:
    """Killed between a write at the remote and what is noted of it, and between the two commits of a decision."""
    storm = await set_out(stage, hostile_api, "merge", 100 if extent.long else 20)
    storm.may_end.clear()
    blowing: asyncio.Task[None] | None = None
    for fault in ("rest.after_send=kill@20", "twoway.before_commit=kill@40", ""):
        async with worker_process(tmp_path / "log", fault) as process:
            await alike(stage, hostile_api) if blowing is None else None
            blowing = blowing or asyncio.create_task(storm.blow(60.0 if extent.long else 6.0, 0.05))
            if fault:
                assert await asyncio.to_thread(process.wait, 90) == -signal.SIGKILL
            else:
                storm.may_end.set()
                await blowing
                await alike(stage, hostile_api)
                await come_to_rest(storm, "merge")


async def set_out(stage: Stage, remote: HostileApi, policy: str, count: int) -> Storm:
    """A pipeline between a table and a remote that trims and writes small letters."""
    remote.add("things", count=count, upsert=True, etag="strong", rewrite=["trim", "lower"])
    rules = {"policy": policy, **({"newest": "group"} if policy == "newest" else {})}
    await begin(stage, api(remote.url, {"things": things(writes=WRITES)}), both(every="300ms", conflicts=rules))
    return Storm(stage, remote, count)


async def come_to_rest(storm: Storm, policy: str) -> None:
    """Two rounds after the last edit both sides are alike, nothing is written any more, and conflicts are listed."""
    await served(storm.stage, 2)
    before = await written(storm.stage, storm.remote)
    await served(storm.stage, 2)
    assert await written(storm.stage, storm.remote) == before
    await alike(storm.stage, storm.remote, 1)
    found = await storm.stage.answer("conflicts", "list", "items", "--limit", 10_000)
    assert {one["outcome"] for one in found} <= {"merged", "source", "target"}
    assert found
    if policy == "merge":
        assert await storm.lost() == []
