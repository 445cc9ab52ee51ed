"""`nms pipelines`, `pause`, `resume`, `resync`, `runs`, `quarantine` as an operator types them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.stage import Stage
from tests.waiting import eventually

IDS = "select id from public.item order by id"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
async def streaming(stage: Stage) -> AsyncIterator[Stage]:
    await stage.at("source", "insert into public.item select n, 'name' from generate_series(1, 3) n")
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
        yield stage


async def test_a_pipeline_at_work_is_shown_with_its_lag_and_its_datasets(streaming: Stage) -> None:
    await streaming.at("source", "insert into public.item values (4, 'new')")
    await streaming.arrive(IDS, [1, 2, 3, 4])
    listed = await streaming.nms("pipelines")
    assert listed.exit_code == 0, listed.output
    assert "items" in listed.stdout
    assert "streaming" in listed.stdout
    shown = await streaming.nms("pipelines", "items")
    assert "public.item" in shown.stdout
    assert "log retained" in shown.stdout
    (one,) = await streaming.answer("pipelines")
    assert (one["name"], one["phase"], one["healthy"]) == ("items", "streaming", True)
    assert (await streaming.answer("pipelines", "items"))["status"]["tables"]["public.item"]["copied"] == 3


async def test_paused_it_stands_still_and_resumed_it_goes_on_from_there(streaming: Stage) -> None:
    paused = await streaming.nms("pause", "items")
    assert (paused.exit_code, "is paused" in paused.stdout) == (0, True)
    await streaming.at("source", "insert into public.item values (4, 'while paused')")
    listed = await streaming.nms("pipelines")
    assert (listed.exit_code, "paused" in listed.stdout) == (0, True)
    assert (await streaming.answer("resume", "items"))["run"] > 0
    await streaming.arrive(IDS, [1, 2, 3, 4])
    assert (await streaming.reach("streaming")).generation == 1


async def test_resync_says_what_it_costs_asks_and_heals(streaming: Stage) -> None:
    await streaming.at("target", "delete from public.item where id = 2; insert into public.item values (9, 'stray')")
    refused = await streaming.nms("resync", "items")
    assert refused.exit_code == 1
    assert "About 3 rows" in refused.stderr
    assert "not-confirmed" in refused.stderr
    assert (await streaming.get()).generation == 1
    begun = await streaming.answer("resync", "items", "--yes")
    assert begun["cost"][0]["rows"] == 3
    await streaming.arrive(IDS, [1, 2, 3])
    assert (await streaming.reach("streaming")).generation == 2


async def test_a_halted_pipeline_exits_3_and_says_why_and_what_to_do(streaming: Stage) -> None:
    await streaming.at("source", "drop publication nms_items")
    await streaming.reach("halted")
    listed = await streaming.nms("pipelines")
    assert listed.exit_code == 3
    assert "publication-gone" in listed.stdout
    assert "nms resync" in listed.stdout
    (one,) = await streaming.answer("pipelines")
    assert (one["healthy"], one["problem"]["code"]) == (False, "publication-gone")


async def test_a_pipeline_that_no_worker_works_is_not_well(stage: Stage) -> None:
    await stage.begin()
    assert (await stage.nms("pipelines")).exit_code == 0
    await stage.at(
        str(stage.settings.db_nms_dsn.get_secret_value() if stage.settings.db_nms_dsn else ""),
        "update sync.pipeline set updated_at = now() - interval '1 min' returning name",
    )
    listed = await stage.nms("pipelines")
    assert (listed.exit_code, "nms worker sync" in listed.stdout) == (3, True)


async def test_what_is_not_there_is_a_problem(stage: Stage) -> None:
    commands: list[tuple[str, ...]] = [
        ("pipelines", "absent"), ("pause", "absent"), ("resume", "absent"), ("resync", "absent", "--yes"),
        ("quarantine", "list", "absent"), ("quarantine", "replay", "absent", "--all"), ("runs", "show", "7"),
    ]  # fmt: skip
    for words in commands:
        answer = await stage.nms(*words)
        assert (answer.exit_code, "not-found" in answer.stderr) == (1, True)
    assert "There is no pipeline" in (await stage.nms("pipelines")).stdout
    assert (await stage.nms("quarantine", "drop", "items")).exit_code == 2
    assert (await stage.nms("quarantine", "drop", "items", "--all", "--key", "1")).exit_code == 2


async def test_watching_prints_each_change_until_interrupted(streaming: Stage) -> None:
    words = [sys.executable, "-m", "nms", "pipelines", "--watch", "--json"]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    async with asyncio.timeout(90):
        first = json.loads(await process.stdout.readline())
        second = json.loads(await process.stdout.readline())
        assert first["name"] == second["name"] == "items"
        assert first["updated_at"] < second["updated_at"]
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130


async def test_runs_are_listed_shown_cancelled_and_retried(streaming: Stage) -> None:
    (run,) = await streaming.answer("runs", "list", "--kind", "pipeline")
    assert (run["subject"], run["state"]) == ("items", "running")
    assert "items" in (await streaming.nms("runs", "list")).stdout
    assert (await streaming.answer("runs", "show", run["id"]))["worker"] == run["worker"]
    cancelled = await streaming.answer("runs", "cancel", run["id"])
    assert cancelled["run"]["state"] in ("cancelling", "cancelled")
    watched = await streaming.nms("runs", "watch", run["id"])
    assert (watched.exit_code, "cancelled" in watched.stdout) == (1, True)
    assert (await streaming.answer("runs", "retry", run["id"]))["run"]["state"] == "queued"
    await streaming.at("source", "insert into public.item values (5, 'again')")
    await streaming.arrive(IDS, [1, 2, 3, 5])


async def test_what_a_target_refuses_is_held_shown_replayed_and_dropped(streaming: Stage) -> None:
    await streaming.at("target", "alter table public.item add constraint short check (length(name) < 9)")
    await streaming.at("source", "insert into public.item values (4, 'far too long'), (5, 'too long a name')")
    await streaming.at("source", "insert into public.item values (6, 'short')")
    await streaming.arrive(IDS, [1, 2, 3, 6])

    async def held() -> bool:
        return (await streaming.get()).held == 2

    await eventually(held)
    assert (await streaming.nms("pipelines")).exit_code == 3
    listed = await streaming.nms("quarantine", "list", "items")
    assert "short" in listed.stdout
    rows = await streaming.answer("quarantine", "list", "items")
    assert [row["key"] for row in rows] == ["5", "4"]
    assert (await streaming.nms("quarantine", "replay", "items", "--key", "77")).exit_code == 1
    assert (await streaming.answer("quarantine", "drop", "items", "--key", "5"))["count"] == 1
    await streaming.at("target", "alter table public.item drop constraint short")
    assert (await streaming.answer("quarantine", "replay", "items", "--all"))["count"] == 1
    await streaming.arrive(IDS, [1, 2, 3, 4, 6])

    async def empty() -> bool:
        return (await streaming.get()).held == 0

    await eventually(empty)
    assert await streaming.answer("quarantine", "list", "items") == []
    states = {row["state"] for row in await streaming.answer("quarantine", "list", "items", "--history")}
    assert states == {"replayed", "dropped"}
