"""Resources of a REST API become rows, through documents and a worker: killed, refused and swept."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tests.service.rest_stage import FOLLOWING, IDS, SINCE, api, begin, lists, pull, things
from tests.service.stage import Stage
from tests.service.test_kafka_pipelines import worker_process
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

ALL = list(range(1, 251))


@pytest.fixture
def stage(api_stage: Stage) -> Stage:
    return api_stage


async def test_every_record_arrives_in_every_style_of_paging(stage: Stage, hostile_api: HostileApi) -> None:
    tables = {style: f"t_{style.replace('-', '_')}" for style in FOLLOWING}
    for style, name in tables.items():
        hostile_api.add(name, count=250, paging=style, page_size=20)
        await stage.at("target", f"create table public.{name} (id bigint primary key, name text)")
    declared = {name: {**things(style), "path": f"/{name}", "record": None} for style, name in tables.items()}
    await begin(stage, api(hostile_api.url, declared), pull(*tables.values()))
    async with stage.working():
        for name in tables.values():
            await stage.arrive(f"select id from public.{name} order by id", ALL)


async def test_a_worker_that_is_killed_in_a_round_loses_nothing_and_repeats_little(
    stage: Stage, hostile_api: HostileApi, tmp_path: Path
) -> None:
    hostile_api.add("things", count=250, page_size=5, paging="cursor", latency=0.01)
    rule = {"things": things("cursor", since=SINCE)}
    await begin(stage, api(hostile_api.url, rule), pull(every="1h"))
    for fault in ("rest.before_pages=kill@2", "apply.before_commit=kill@2", "apply.after_commit=kill@2"):
        async with worker_process(tmp_path / "log", fault) as process:
            await eventually(lambda: _ended(process))
            assert process.returncode == -signal.SIGKILL
    async with worker_process(tmp_path / "log"):
        await stage.arrive(IDS, ALL)
        # What was read ahead of the target is read again, and no more than that.
        assert len(lists(hostile_api)) <= 50 + 3 * 50
        hostile_api.write("things", {"name": "changed"}, 7)
        await stage.nms("pipelines", "run", "items", "--no-wait")
        await stage.arrive("select id from public.things where name = 'changed'", [7])


async def test_what_the_remote_deleted_is_deleted_although_the_worker_is_killed(
    stage: Stage, hostile_api: HostileApi, tmp_path: Path
) -> None:
    hostile_api.add("things", count=250, page_size=50)
    rule = {"things": things(sweep={"every": "1ms", "query": {"fields": "id"}})}
    await begin(stage, api(hostile_api.url, rule), pull(every="100ms"))
    async with worker_process(tmp_path / "log", "rest.before_deletes=kill") as process:
        await stage.arrive(IDS, ALL)
        for number in (3, 250):
            hostile_api.delete("things", number)
        await eventually(lambda: _ended(process))
    async with stage.working():
        await stage.arrive(IDS, [number for number in ALL if number not in (3, 250)])
        for number in range(10, 200):
            hostile_api.delete("things", number)
        halted = await stage.reach("halted")
        assert halted.problem is not None
        assert halted.problem["code"] == "sweep-suspicious"
    assert len(await stage.at("target", IDS)) == 248


async def test_a_record_that_the_target_refuses_is_held_once_however_often_it_is_read(
    stage: Stage, hostile_api: HostileApi
) -> None:
    hostile_api.add("things", count=50)
    hostile_api.write("things", {"name": None, "group": 1000}, 7)
    await stage.at("target", 'alter table public.things add constraint few check ("group" < 100)')
    await begin(stage, api(hostile_api.url), pull(every="50ms"))
    async with stage.working():
        await stage.arrive(IDS, [number for number in range(1, 51) if number != 7])

        async def rounds() -> bool:
            now = await stage.get()
            return bool(now.status["rounds"] > 5 and now.held)

        await eventually(rounds)
        assert (await stage.get()).held == 1
        held = await stage.answer("quarantine", "list", "items")
        assert [row["problem"]["code"] for row in held] == ["target-refused"]
        # What is beside it on its page arrives; what follows it waits for it, and both come with a replay.
        hostile_api.write("things", {"name": "changed"}, 8)
        await stage.arrive("select id from public.things where name = 'changed'", [8])
        hostile_api.write("things", {"name": "mended", "group": 5}, 7)
        await eventually(lambda: _holds(stage, ["target-refused", "follows-held"]))
        await stage.at("target", "alter table public.things drop constraint few")
        await stage.nms("quarantine", "replay", "items", "--all")
        await stage.arrive("select id from public.things where name = 'mended'", [7])
        await eventually(lambda: _holds(stage, []))


async def _holds(stage: Stage, codes: list[str]) -> bool:
    rows = await stage.answer("quarantine", "list", "items")
    return sorted(row["problem"]["code"] for row in rows) == sorted(codes)


async def _ended(process: object) -> bool:
    return getattr(process, "poll")() is not None  # noqa: B009


async def test_what_refers_to_a_resource_that_is_refused_waits_for_it_and_nothing_else_does(
    stage: Stage, hostile_api: HostileApi
) -> None:
    for name, count in (("things", 30), ("parts", 0), ("others", 5)):
        hostile_api.add(name, count=count)
    hostile_api.write("parts", {"name": "p", "things_id": 7})
    await stage.at("target", "alter table public.parts add foreign key (things_id) references public.things")
    await stage.at("target", "create table public.others (id bigint primary key, name text)")
    declared = {name: {**things(), "path": f"/{name}", "record": None} for name in ("things", "parts", "others")}
    refused = hostile_api.plan("404", path="/things")
    await begin(stage, api(hostile_api.url, declared), pull("things", "parts", "others", every="50ms"))
    async with stage.working():
        waiting = await stage.reach("retrying")
        assert waiting.problem is not None
        assert (waiting.problem["code"], waiting.problem["retry"]) == ("remote-missing", "later")
        hostile_api.write("others", {"name": "later"})
        await stage.arrive("select id from public.others order by id", [1, 2, 3, 4, 5, 6])
        assert (await stage.get()).problem == {**waiting.problem, "resources": ["parts", "things"]}
        refused.times = 0
        answer = await stage.nms("pipelines", "run", "items")
        assert answer.exit_code == 0, answer.output
        assert await stage.at("target", IDS) == list(range(1, 31))
        assert await stage.at("target", "select id from public.parts") == [1]
        assert ((await stage.get()).phase, (await stage.get()).held) == ("streaming", 0)


async def test_the_command_tells_what_a_round_waits_for_and_leaves_it_when_it_is_interrupted_or_late(
    stage: Stage, hostile_api: HostileApi
) -> None:
    hostile_api.add("things", count=30)
    hostile_api.plan("404", path="/things")
    await begin(stage, api(hostile_api.url), pull(every="1h"))
    async with stage.working():
        since = (await stage.reach("retrying")).problem
        assert since is not None
        words = (sys.executable, "-m", "nms", "pipelines", "run", "items")
        process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
        assert process.stderr is not None
        line = (await process.stderr.readline()).decode()
        assert line.startswith(f"items: waits since {since['since'].replace('T', ' ')}: ")
        assert line.endswith("answers 404 at /things. (remote-missing); 0 records so far\n")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        late = await stage.nms("pipelines", "run", "items", "--timeout", "0.5", "--json")
        assert late.exit_code == 4, late.output
        runs = await stage.answer("runs", "list", "--kind", "round")
        assert {run["state"] for run in runs} <= {"running", "queued"}
        assert [json.loads(one)["run"]["id"] in {run["id"] for run in runs} for one in late.stdout.splitlines()] <= [
            True
        ]
        hostile_api.unplan()
        progress = (await stage.answer("pipelines", "run", "items", "--timeout", "600"))["run"]["progress"]
        assert progress["total"] == progress["current"]
    assert await stage.at("target", IDS) == list(range(1, 31))
