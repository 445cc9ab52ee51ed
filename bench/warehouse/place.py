"""Where the warehouse is measured: one PostgreSQL with the same records thrice, and a process for each contestant."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from bench.auth.connection import connect
from bench.auth.place import SERVER, settings_of
from bench.meter import Meter
from bench.warehouse import question
from bench.warehouse.bare import DATABASE, TABLES
from bench.warehouse.question import DIFFERENT, Asker
from nms.common.db.migrations import upgrade
from nms.common.db.pool import close_pools
from nms.common.document import short_form
from nms.common.settings import get_settings
from nms.common.token import mint_token
from tests.service.inbox import declare
from tests.service.role_process import ROOT, UVICORN, RoleProcess, children_of, running
from tests.service.warehouse import entity, make_entities
from tests.services.postgres import PostgresServer
from tests.services.process import free_port
from tests.waiting import eventually

KEY = "only-for-a-measurement-on-loopback-0123456789"
BARE = {"ready": "bare ASGI, ready JSON", "built": "bare ASGI, JSON built per request", "routed": "FastAPI, pydantic"}
DATASETTE, OURS = "Datasette", "ours"
PEER = ROOT / ".tools/datasette/bin/datasette"
POSTS = entity(
    "posts",
    {
        "userId": {"type": "bigint", "index": True},
        "id": "bigint",
        "title": {"type": "text", "index": True},
        "body": "text",
    },
)
RECORDS = """
insert into entity.posts ("userId", id, title, body)
select id / 100, id, 'Title ' || md5(id::text), repeat('What a post says, in some words. ', 5)
from generate_series(1, $1::bigint) as id
"""
COPIES = (
    'insert into ready select "userId", id, title, body, _sequence, _json from entity.posts order by id',
    'insert into built select "userId", id, title, body, _sequence from entity.posts order by id',
    "vacuum analyze",
)
SHARED_BUFFERS = "2GB"


@dataclass
class Server:
    """A contestant that listens, and how it is asked."""

    role: RoleProcess
    asker: Asker

    @property
    def port(self) -> int:
        return int(self.role.address.rpartition(":")[2])


@dataclass
class Place:
    """The contestants by name, over the same records."""

    servers: Mapping[str, Server]
    postgres: PostgresServer
    places: Sequence[int]
    deep: int

    async def load(self, name: str, workload: str, clients: int, seconds: float) -> dict[str, float]:
        """What came of one load, with the CPU of server and PostgreSQL for each request."""
        server = self.servers[name]
        meters = {
            "server": Meter(server.role.family()),
            "PostgreSQL": Meter([self.postgres.pid, *children_of(self.postgres.pid)]),
        }
        status = "304" if workload == "304" else "200"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.warehouse.load", str(server.port), str(clients), str(seconds), status),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(
            json.dumps(server.asker.requests(workload, self.places, self.deep)).encode()
        )
        if process.returncode:
            raise RuntimeError(f"the load on {name} ended with {process.returncode}: {server.role.log[-2000:]}")
        told: dict[str, float] = json.loads(output)
        cpu = {who: meter.read().cpu_seconds / told["count"] * 1e6 for who, meter in meters.items()}
        return {**told, **{f"cpu of {who}, us": used for who, used in cpu.items()}, "cpu, us": sum(cpu.values())}

    async def compare(self, workload: str) -> None:
        """Raise RuntimeError unless every contestant answers with the same records."""
        told = {name: await self._read(server, workload) for name, server in self.servers.items()}
        if any(one != told[OURS] for one in told.values()):
            raise RuntimeError(f"{workload}: not the same records: {told}")

    async def _read(self, server: Server, workload: str) -> list[Any]:
        """The records of its last request; Datasette tells a single one as a list."""
        first, *lines = server.asker.requests(workload, self.places, self.deep)[-1].split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        async with httpx2.AsyncClient(base_url=server.role.address, headers=headers) as client:
            answer = (await client.get(first.split(" ")[1])).raise_for_status()
        told = answer.json()
        records = told.get("items", told.get("rows", [told]))
        return [{name: one[name] for name in POSTS.fields} for one in records]


@asynccontextmanager
async def open_place(folder: Path, names: Collection[str], rows: int) -> AsyncIterator[Place]:
    """These contestants, ready, and so many records; a walk in pages of a step says where pages start."""
    step = min(1000, rows // 100)
    places = [step * at for at in range(1, rows // step, max(1, rows // step // DIFFERENT))]
    deep = rows // step * 9 // 10 * step
    async with AsyncExitStack() as stack:
        postgres = PostgresServer("18", settings={**SERVER, "shared_buffers": SHARED_BUFFERS})
        await postgres.start()
        stack.push_async_callback(postgres.close)
        dsn = await postgres.create_database("dwh")
        own = {"DB_DWH_DSN": dsn, "DB_NMS_DSN": await postgres.create_database("nms")}
        environment = {"ENVIRONMENT": "test", "JWT_SECRET_KEY": KEY, "SECRETS_KEY": KEY[::-1], **own}
        tag = await _fill(dsn, environment, rows)
        servers = {}
        for name in names:
            match name:
                case "ours":
                    made = _ours(folder, environment, step, max(*places, deep))
                case "Datasette":
                    made = _datasette(folder, dsn)
                case _:
                    made = _bare(folder, dsn, name, tag)
            servers[name] = await stack.enter_async_context(made)
        yield Place(servers, postgres, places, deep)


async def _fill(dsn: str, environment: Mapping[str, str], rows: int) -> str:
    """Make and fill the tables; the entity tag of a bare server's list."""
    await upgrade(dsn, ROOT / "db" / "dwh" / "migrations")
    await upgrade(environment["DB_NMS_DSN"], ROOT / "db" / "nms" / "migrations")
    with settings_of(environment):
        await declare(short_form(POSTS))
        await make_entities(POSTS)
        await close_pools()
    database = await asyncpg.connect(dsn)
    await database.execute(RECORDS, rows, timeout=1800)
    for statement in (*TABLES, *COPIES):
        await database.execute(statement, timeout=1800)
    newest = await database.fetchval("select max(version) from built")
    await database.close()
    return f'"{newest}"'


@asynccontextmanager
async def _bare(folder: Path, dsn: str, name: str, tag: str) -> AsyncIterator[Server]:
    command = ("uvicorn", "{app}", "--factory", "--port", "{port}", "--no-access-log")
    async with running(f"bench.warehouse.bare:{name}", folder, server=command, environment={DATABASE: dsn}) as role:
        yield Server(role, question.bare(tag))


@asynccontextmanager
async def _ours(folder: Path, environment: Mapping[str, str], step: int, last: int) -> AsyncIterator[Server]:
    """The role as users run it, with its log and its worker, asked with a token."""
    with settings_of(environment):
        token = mint_token(get_settings(), ["entities:read:posts"], subject="bench", seconds=24 * 3600)
    async with running("nms.warehouse.main:app", folder, server=UVICORN, environment=environment) as role:
        server = Server(role, question.bare(""))
        connection = await connect(server.port)
        server.asker = await question.ours(connection, token, last, step)
        connection.close()
        yield server


@asynccontextmanager
async def _datasette(folder: Path, dsn: str) -> AsyncIterator[Server]:
    """Datasette over a file of SQLite with the same table and indexes, immutable as it likes it best."""
    await _copy_to_sqlite(dsn, folder / "bench.db")
    port, log = free_port(), folder / "datasette.log"
    process = _launch_peer(folder, port, log)
    role = RoleProcess(process, port, log)
    try:
        server = Server(role, question.datasette())

        async def answers() -> bool:
            try:
                (await connect(port)).close()
            except ConnectionRefusedError:
                return False
            return True

        await eventually(answers)
        yield server
    finally:
        process.kill()
        process.wait()


def _launch_peer(folder: Path, port: int, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        command: list[str | Path] = [PEER, "serve", "-i", folder / "bench.db", "--port", str(port)]
        return subprocess.Popen(command, stdout=output, stderr=output)


async def _copy_to_sqlite(dsn: str, path: Path) -> None:
    source = await asyncpg.connect(dsn)
    target = sqlite3.connect(path)
    target.execute("create table posts (userId integer, id integer primary key, title text, body text)")
    async with source.transaction():
        cursor = await source.cursor('select "userId", id, title, body from built order by id')
        while rows := await cursor.fetch(50_000):
            target.executemany("insert into posts values (?, ?, ?, ?)", [tuple(row) for row in rows])
    for column in ("userId", "title"):
        target.execute(f"create index posts_{column} on posts ({column}, id)")
    target.execute("analyze")
    target.commit()
    target.close()
    await source.close()
