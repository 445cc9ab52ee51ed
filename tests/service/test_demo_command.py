"""`nms demo subscriptions`, and what the demo refuses or gives up, each with a remedy."""

import asyncio
import fcntl
import json
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from nms.cli.demo import watch
from nms.cli.demo.process import ChildFailed
from nms.cli.demo.screen import QuietScreen
from nms.cli.demo.stage import Stage
from nms.cli.demo.view import View
from nms.cli.demo.watch import DemoStuck, Watch
from nms.common.db.embedded import Server
from nms.common.settings import Settings
from nms.connectors.postgres.catalog import connect
from nms.connectors.postgres.libpq import Access
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase


async def run_nms(*arguments: str, **more: str) -> tuple[int, str, str]:
    foreign = ("DB_", "AMQP_", "REDIS_", "BILLING_", "DATA_DIR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", *arguments),
        env={**kept, "PYTHONPATH": str(Path.cwd()), **more},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_mock_subscriptions_are_as_many_as_asked_for_and_always_the_same(make_database: MakeDatabase) -> None:
    digests = []
    for variable in ({}, {"BILLING_DSN": "yes"}):
        dsn = await make_database()
        given = ("--source", dsn) if not variable else ()
        environment = {"BILLING_DSN": dsn} if variable else {}
        code, out, err = await run_nms("demo", "subscriptions", "--rows", "250", *given, "--json", **environment)
        assert code == 0, err
        assert (json.loads(out)["rows"], json.loads(out)["new"]) == (250, 250)
        connection = await asyncpg.connect(dsn)
        digests.append(
            await connection.fetchval("select md5(string_agg(s::text, '' order by email)) from subscription s")
        )
        assert await connection.fetchval("select count(distinct email) from subscription") == 250
        await connection.close()
    assert digests[0] == digests[1]


async def test_filling_again_adds_only_what_is_not_there(make_database: MakeDatabase) -> None:
    dsn = await make_database()
    for rows, new in (("100", "100 new"), ("100", "0 new"), ("150", "50 new")):
        code, out, _ = await run_nms("demo", "subscriptions", "--rows", rows, "--source", dsn)
        assert code == 0
        assert out.startswith(new)


async def test_without_a_source_the_remedy_says_how_to_name_one(tmp_path: Path) -> None:
    code, _, err = await run_nms("demo", "subscriptions", DATA_DIR=str(tmp_path))
    assert code == 1
    assert "--source" in err


async def test_a_source_with_options_that_read_files_is_refused(tmp_path: Path) -> None:
    source = "postgresql://a@localhost/b?passfile=/etc/passwd"
    code, _, err = await run_nms("demo", "subscriptions", "--source", source, "--json", DATA_DIR=str(tmp_path))
    assert code == 1
    assert json.loads(err)["code"] == "dsn-refused"


async def test_a_second_demo_in_the_same_place_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "kept").touch()
    with (tmp_path / "demo.lock").open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        code, out, err = await run_nms("demo", DATA_DIR=str(tmp_path))
    assert (code, out.count("\n")) == (1, 1)
    assert "demo-running" in err
    assert (tmp_path / "demo" / "kept").exists()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, Server(0, 0, tmp_path))


async def test_a_pipeline_that_halts_ends_the_demo_with_its_problem(
    settings: Settings, database: str, stage: Stage
) -> None:
    repository = await SyncRepository.open()
    await repository.upsert_pipeline("pgbench", 1, "checksum", {})
    await repository.update_status("pgbench", "halted", None, ({}, {"detail": "the slot is lost"}, 0))
    source = await connect(Access("source", database), name="test")
    with pytest.raises(DemoStuck, match="pgbench halted: the slot is lost") as refused:
        await Watch(View(), QuietScreen(), source, stage).run()
    assert refused.value.path == str(stage.place)
    await source.close()


async def test_when_nothing_moves_the_demo_gives_up_and_says_what_it_waited_for(
    settings: Settings, database: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.2)
    source = await connect(Access("source", database), name="test")
    watching = Watch(View(), QuietScreen(), source, stage)
    with pytest.raises(DemoStuck, match="while waiting for a worker"):
        await watching.until(lambda _: False, "for a worker")
    with pytest.raises(DemoStuck, match="does not come nearer"):
        await watching.until_confirmed(1 << 60)
    await source.close()


async def test_a_worker_that_ends_by_itself_ends_the_demo_with_what_it_said(settings: Settings, stage: Stage) -> None:
    worker = await stage.start_worker(3.0)
    await worker.end()
    (stage.place / "worker-1.log").write_text("the last words")
    with pytest.raises(ChildFailed, match="Worker 1 has ended by itself") as refused:
        stage.check_workers()
    assert refused.value.said == ["the last words"]


async def test_a_worker_that_was_killed_on_purpose_does_not(settings: Settings, stage: Stage) -> None:
    worker = await stage.start_worker(3.0)
    worker.kill()
    await worker.end()
    stage.check_workers()


async def test_a_program_that_fails_is_a_problem_with_its_last_lines(stage: Stage) -> None:
    process = await stage.start_pgbench("billing", "--no-such-option")
    with pytest.raises(ChildFailed) as refused:
        await process.finish()
    assert any("no-such-option" in line for line in refused.value.said)


async def test_the_check_ends_with_no_subscription_inactive_on_one_side_only(tmp_path: Path) -> None:
    words = ("demo", "subscriptions", "--check", "--rows", "2000", "--seconds", "2")
    code, out, err = await run_nms(*words, "--json", DATA_DIR=str(tmp_path))
    assert code == 0, err
    told = json.loads(out)
    assert (told["in_sync"], told["rows"], told["inactive_on_one_side"]) == (True, 2000, 0)
    assert told["inactive_on_one_side_before"] > 100
    assert told["edits"] > 10
    assert "Round " in err
    assert list((tmp_path / "demo").glob("*")) == []
