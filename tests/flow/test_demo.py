"""`nms demo` as its user sees it: in sync after a kill, honest when something is missing, nothing left behind."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from nms.common.db.embedded import SUPERUSER, Embedded
from nms.common.db.embedded_process import end_server, is_running, read_lock
from tests.waiting import eventually

SHORT = ("--seconds", "2", "--rows", "500", "--scale", "1")
LAST_LINE = re.compile(r"in sync: [\d,]+ rows, [\d,]+ changes, 0 lost, 0 doubled")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="nms-demo-"))
    place.chmod(0o711)
    yield place
    lock = read_lock(place / "demo" / "postgres" / "data")
    if lock is not None and is_running(lock.pid):
        asyncio.run(end_server(lock.pid, 5.0))
    shutil.rmtree(place)


@asynccontextmanager
async def demo(data_dir: Path, *arguments: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AMQP_", "REDIS_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", "demo", *arguments),
        env={**kept, "DATA_DIR": str(data_dir), "PYTHONPATH": str(Path.cwd()), **more},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def left_running(data_dir: Path) -> list[int]:
    """Processes that work in the data directory."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and works_in(entry, data_dir)]


def works_in(entry: Path, data_dir: Path) -> bool:
    try:
        return str(entry.joinpath("cwd").readlink()).startswith(str(data_dir)) and is_running(int(entry.name))
    except OSError:
        return False


async def test_after_live_traffic_and_a_killed_worker_both_sides_are_equal_and_nothing_stays(data_dir: Path) -> None:
    async with demo(data_dir, *SHORT) as process:
        code, out, err = await finish(process)
    assert code == 0, out + err
    assert LAST_LINE.fullmatch(out.splitlines()[-1]), out
    (victim,), (heir,) = re.findall(r"SIGKILL to (worker \d)", out), re.findall(r"(Worker \d) took over", out)
    assert victim != heir.lower()
    assert err == ""
    assert left_running(data_dir) == []
    assert not (data_dir / "demo").exists()


async def test_what_is_lost_doubled_or_changed_is_named_and_exits_3(data_dir: Path) -> None:
    async with demo(data_dir, *SHORT, "--json", NMS_FAULTS="demo.before_digest=stop") as process:
        await eventually(lambda: is_stopped(process.pid), seconds=90)
        server = Embedded(data_dir / "demo").find()
        assert server is not None
        planted = await plant(server.dsn("crm", SUPERUSER))
        process.send_signal(signal.SIGCONT)
        code, out, err = await finish(process)
    assert code == 3, err
    said = json.loads(out)
    found = {one["dataset"].removeprefix("public."): one for one in said["datasets"]}
    assert (said["in_sync"], said["lost"], said["doubled"]) == (False, 2, 2)
    assert found["subscription"]["first_keys"] == {"missing": [planted["lost"]], "extra": ["nobody@example.org"]}
    assert found["pgbench_accounts"]["first_keys"] == {"stale": ["7"]}
    assert found["pgbench_history"]["doubled"] == 1
    assert planted["twice"] in found["pgbench_history"]["first_keys"]["doubled"][0]
    assert said["detail"].startswith("out of sync: ")
    # What was written is not only told: without a key, each transaction of pgbench is one row of history.
    assert found["pgbench_history"]["source_rows"] == said["written"]["pgbench_transactions"] > 0
    assert Path(said["data"], "worker-1.log").exists()
    assert left_running(data_dir) == []


async def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def plant(dsn: str) -> dict[str, str]:
    """Delete, change, invent and double rows at the target; gives the key of the lost one and a part of the doubled."""
    connection = await asyncpg.connect(dsn)
    try:
        lost = await connection.fetchval(
            "delete from subscription where email = (select min(email) from subscription) returning email"
        )
        await connection.execute("update pgbench_accounts set abalance = abalance + 1 where aid = 7")
        await connection.execute(
            "insert into subscription select 'nobody@example.org', status, plan, started_at, changed_at, ends_at,"
            " attributes from subscription limit 1"
        )
        twice = await connection.fetchval(
            "insert into pgbench_history select * from pgbench_history limit 1 returning mtime::text"
        )
    finally:
        await connection.close()
    return {"lost": lost, "twice": twice}


async def test_interrupted_it_stops_everything_it_started(data_dir: Path) -> None:
    async with demo(data_dir, "--seconds", "60", "--rows", "500", "--scale", "1") as process:
        assert process.stdout is not None
        while b"SIGKILL to worker" not in (line := await asyncio.wait_for(process.stdout.readline(), 90)):
            assert line, "the demo ended by itself"
            if b"The company writes" in line:
                break
        assert len(left_running(data_dir)) > 3
        process.send_signal(signal.SIGINT)
        code, _, err = await finish(process)
    assert code == 130, err
    assert left_running(data_dir) == []
    assert not (data_dir / "demo").exists()


async def test_kept_it_can_be_looked_into_and_the_next_demo_clears_it_away(data_dir: Path) -> None:
    async with demo(data_dir, *SHORT, "--keep") as process:
        code, out, err = await finish(process)
    assert code == 0, out + err
    assert LAST_LINE.fullmatch(out.splitlines()[-1])
    kept = Embedded(data_dir / "demo").find()
    assert kept is not None
    environment = data_dir / "demo" / "environment"
    assert f". {environment}" in out
    assert environment.stat().st_mode & 0o077 == 0
    look = f'. {environment} && psql "$CRM_DSN" -Atc "select count(*) from subscription" && nms pipelines --json'
    shell = await asyncio.create_subprocess_shell(look, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    told, _ = await asyncio.wait_for(shell.communicate(), 60)
    count, pipelines = told.decode().splitlines()[:2]
    assert int(count) > 0
    assert {one["name"] for one in json.loads(pipelines)} == {"subscriptions", "pgbench"}
    async with demo(data_dir, *SHORT) as process:
        assert process.stdout is not None
        while b"PostgreSQL 18 runs" not in (line := await asyncio.wait_for(process.stdout.readline(), 90)):
            assert line, "the demo ended by itself"
        assert not is_running(kept.pid)
        process.send_signal(signal.SIGTERM)
        code, _, err = await finish(process)
    assert code == 130, err
    assert left_running(data_dir) == []


async def test_two_tables_and_an_api_are_equal_after_changes_and_nothing_stays(data_dir: Path) -> None:
    async with demo(data_dir, "rest", "--json") as process:
        code, out, err = await finish(process)
    assert code == 0, out + err
    told = json.loads(out)
    assert (told["in_sync"], told["posts"], told["comments"], told["apart"]) == (True, 102, 485, 0)
    assert told["apart_before"] > 80
    assert not left_running(data_dir)


async def test_without_node_the_demo_of_rest_says_what_to_install(data_dir: Path) -> None:
    async with demo(data_dir, "rest", PATH="/nowhere") as process:
        code, _, err = await finish(process)
    assert (code, "node-missing" in err, "make services" in err) == (1, True, True)
