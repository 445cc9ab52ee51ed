"""Where the inbox is measured: one durable PostgreSQL, and each contestant in a server process of its own."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg

from bench.auth.place import SERVER
from bench.inbox.bare import DATABASE, SECRET, TABLE
from bench.meter import Meter
from nms.common.db.migrations import upgrade
from nms.common.db.pool import close_pools
from nms.common.settings import get_settings
from tests.service.inbox import declare
from tests.service.role_process import ROOT, UVICORN, RoleProcess, children_of, running
from tests.services.postgres import PostgresServer

KEY = "only-for-a-measurement-on-loopback-0123456789"
WORD = "bench-secret-bench-secret-bench-"
ENDPOINT = {
    "kind": "endpoint",
    "name": "bench",
    "scheme": {"type": "standard", "secrets": ["env://BENCH_HOOK"]},
}
BARE = {"shared": "bare ASGI, shared commits", "alone": "bare ASGI, a commit each", "routed": "FastAPI, a commit each"}
OURS = "ours"


@dataclass
class Server:
    """A contestant that listens, and its database."""

    role: RoleProcess
    database: asyncpg.Connection
    table: str

    async def count(self) -> int:
        """Events stored."""
        return int(await self.database.fetchval(f"select count(*) from {self.table}"))


@dataclass
class Place:
    """The contestants by name."""

    servers: Mapping[str, Server]
    postgres: PostgresServer

    async def load(self, name: str, clients: int, seconds: float, pace: float = 0.0) -> dict[str, float]:
        """What came of one load, as fast as it goes or at a pace (events a second), with the CPU that it took.

        What was acknowledged must be stored.
        """
        server = self.servers[name]
        before = await server.count()
        port = server.role.address.rpartition(":")[2]
        meters = {
            "server": Meter(server.role.family()),
            "PostgreSQL": Meter([self.postgres.pid, *children_of(self.postgres.pid)]),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.inbox.load", port, str(clients), str(seconds), str(pace)),
            cwd=ROOT,
            env={**os.environ, SECRET: WORD},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the load on {name} ended with {process.returncode}: {server.role.log[-2000:]}")
        told: dict[str, float] = json.loads(output)
        stored = await server.count() - before
        if stored != told["count"]:
            raise RuntimeError(f"{name} acknowledged {told['count']:.0f} events and has stored {stored}")
        cpu = {who: meter.read().cpu_seconds / told["count"] * 1e6 for who, meter in meters.items()}
        return {**told, **{f"cpu of {who}, us": used for who, used in cpu.items()}}


@asynccontextmanager
async def open_place(folder: Path, names: Collection[str]) -> AsyncIterator[Place]:
    """These contestants, ready; those that are not asked cost nothing."""
    async with AsyncExitStack() as stack:
        postgres = PostgresServer("18", settings=SERVER)
        await postgres.start()
        stack.push_async_callback(postgres.close)
        made = {name: _ours(postgres, folder) if name == OURS else _bare(postgres, folder, name) for name in names}
        servers = {name: await stack.enter_async_context(one) for name, one in made.items()}
        yield Place(servers, postgres)


@asynccontextmanager
async def _bare(postgres: PostgresServer, folder: Path, name: str) -> AsyncIterator[Server]:
    dsn = await postgres.create_database(f"bare_{name}")
    database = await asyncpg.connect(dsn)
    await database.execute(TABLE)
    command = ("uvicorn", "{app}", "--factory", "--port", "{port}", "--no-access-log")
    environment = {DATABASE: dsn, SECRET: WORD}
    async with running(f"bench.inbox.bare:{name}", folder, server=command, environment=environment) as role:
        yield Server(role, database, "event")
    await database.close()


@asynccontextmanager
async def _ours(postgres: PostgresServer, folder: Path) -> AsyncIterator[Server]:
    """The role as users run it: with its log, its worker and a week of days."""
    dsn = await postgres.create_database("nms")
    await upgrade(dsn, ROOT / "db" / "nms" / "migrations")
    hook = f"whsec_{base64.b64encode(WORD.encode()).decode()}"
    environment: dict[str, Any] = {
        "ENVIRONMENT": "test",
        "JWT_SECRET_KEY": KEY,
        "SECRETS_KEY": KEY[::-1],
        "DB_NMS_DSN": dsn,
        "BENCH_HOOK": hook,
    }
    with patch.dict(os.environ, environment):
        get_settings.cache_clear()
        await declare(ENDPOINT)
        await close_pools()
    get_settings.cache_clear()
    database = await asyncpg.connect(dsn)
    async with running("nms.inbox.main:app", folder, server=UVICORN, environment=environment) as role:
        yield Server(role, database, "inbox.event")
    await database.close()
