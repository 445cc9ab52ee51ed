"""`nms up` as its user sees it: one command starts everything, and leaves nothing behind."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.db.embedded import Embedded
from nms.common.db.embedded_process import end_server, is_running, read_lock
from tests.services.process import free_port
from tests.waiting import eventually

ROLES = ("auth", "cfg", "inbox", "sync", "warehouse", "console")


@dataclass
class Up:
    """A running `nms up` and what it said of itself."""

    process: asyncio.subprocess.Process
    said: Mapping[str, Any]

    @property
    def children(self) -> list[int]:
        return [self.said["serve"], self.said["worker"]]

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        await asyncio.wait_for(self.process.communicate(), 60)
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
def data_dir() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="nms-up-"))
    place.chmod(0o711)
    yield place
    lock = read_lock(place / "postgres" / "data")
    if lock is not None and is_running(lock.pid):
        asyncio.run(end_server(lock.pid, 5.0))
    shutil.rmtree(place)


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AMQP_", "REDIS_"))}
    return {**kept, "DATA_DIR": str(data_dir), "PYTHONPATH": str(Path.cwd()), **more}


async def run_nms(*arguments: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", *arguments),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def started(env: Mapping[str, str]) -> AsyncIterator[Up]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", "up", "--port", str(free_port()), "--json"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 90)
        assert line, (await process.stderr.read()).decode()
        yield Up(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_one_command_serves_every_role_to_browsers_and_commands_and_stops_all_it_started(data_dir: Path) -> None:
    async with started(environment(data_dir)) as up:
        async with httpx2.AsyncClient(base_url=up.said["url"]) as client:
            for role in ROLES:
                assert (await client.get(f"/{role}/healthz")).json()["role"] == role
                ready = await client.get(f"/{role}/readyz")
                assert ready.status_code == 200, ready.text
            refused = await client.get("/healthz", headers={"Host": "two hosts"})
            assert refused.json()["code"] == "http-malformed"
        code, out, _ = await run_nms("db", "status", "--json", env=environment(data_dir))
        assert code == 0
        assert {row["database"] for row in json.loads(out)} == {"auth", "nms", "dwh"}
        server = Embedded(data_dir).find()
        assert server is not None
        assert await up.stop(signal.SIGINT) == 0
    assert not any(is_running(pid) for pid in (*up.children, server.pid))
    code, _, err = await run_nms("db", "status", env=environment(data_dir))
    assert code == 1
    assert "nms up" in err


async def become_administrator(up: Up) -> None:
    """By the link of the greeting: make an account, log in, and be let in."""
    ada = {"email": "ada@example.org", "password": "four words by chance"}
    link = httpx2.URL(up.said["claim"])
    assert str(link).startswith(f"{up.said['url']}/auth/claim?token=")
    async with httpx2.AsyncClient() as client:
        assert (await client.get(link)).status_code == 200
        form = {**ada, "again": ada["password"], "token": link.params["token"]}
        assert (await client.post(link.copy_with(query=None), data=form)).status_code == 201
        login = {"username": ada["email"], "password": ada["password"]}
        tokens = (await client.post(f"{up.said['url']}/auth/token", data=login)).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await client.get(f"{up.said['url']}/sync/pipelines", headers=bearer)).status_code == 200


async def test_a_worker_that_dies_is_started_again(data_dir: Path) -> None:
    async with started(environment(data_dir)) as up:
        assert up.process.stderr is not None
        before = children_of(up.process.pid)
        assert up.said["worker"] in before
        os.kill(up.said["worker"], signal.SIGKILL)
        while b"worker ended (killed by SIGKILL)" not in (said := await up.process.stderr.readline()):
            assert said, "nms up ended"

        async def new_workers() -> list[int]:
            return [pid for pid in children_of(up.process.pid) if pid not in before]

        (again,) = await eventually(new_workers)
        assert await up.stop() == 0
    assert not is_running(again)


async def test_killed_without_warning_it_leaves_only_the_database_and_the_next_start_takes_that_with_its_administrator(
    data_dir: Path,
) -> None:
    async with started(environment(data_dir)) as up:
        server = Embedded(data_dir).find()
        assert server is not None
        await become_administrator(up)
        up.process.kill()
        await up.process.communicate()

        async def are_gone() -> bool:
            return not any(is_running(pid) for pid in up.children)

        await eventually(are_gone, seconds=40)
    assert is_running(server.pid)
    async with started(environment(data_dir)) as up:
        assert Embedded(data_dir).find() == server
        assert up.said["claim"] is None
        assert await up.stop() == 0
    assert not is_running(server.pid)


async def test_a_second_one_on_the_same_data_shares_the_database_and_leaves_it_running(data_dir: Path) -> None:
    async with started(environment(data_dir)) as first:
        server = Embedded(data_dir).find()
        assert server is not None
        async with started(environment(data_dir)) as second:
            assert await second.stop() == 0
        assert is_running(server.pid)
        assert await first.stop() == 0
    assert not is_running(server.pid)


async def test_with_dsns_no_server_is_started(
    data_dir: Path, database: str, auth_database: str, dwh_database: str
) -> None:
    env = environment(data_dir, DB_NMS_DSN=database, DB_AUTH_DSN=auth_database, DB_DWH_DSN=dwh_database)
    async with started(env) as up:
        assert up.said["databases"] == "the servers of your DSNs"
        assert not (data_dir / "postgres").exists()
        assert await up.stop() == 0
    connection = await asyncpg.connect(database)
    await connection.close()


async def test_a_taken_port_is_a_problem_with_a_remedy_before_anything_is_started(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = await run_nms("up", "--port", str(port), "--json", env=environment(data_dir))
    assert (code, out) == (1, "")
    problem = json.loads(err)
    assert (problem["code"], problem["port"]) == ("port-taken", port)
    assert "--port" in problem["remedy"]
    assert not (data_dir / "postgres").exists()


async def test_settings_that_are_refused_are_a_problem_and_no_crash(data_dir: Path) -> None:
    code, _, err = await run_nms("up", env=environment(data_dir, ENVIRONMENT="production", JWT_SECRET_KEY="short"))
    assert code == 1
    assert "remedy:" in err
    assert "Traceback" not in err


async def test_a_worker_alone_stops_when_it_is_told_to(data_dir: Path, database: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", "worker", "sync", "--json"),
        env=environment(data_dir, DB_NMS_DSN=database),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), 60))["pid"] == process.pid
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0


def children_of(pid: int) -> list[int]:
    listed = (Path(f"/proc/{pid}/task") / str(pid) / "children").read_text().split()
    return [int(child) for child in listed if is_running(int(child))]
