"""Where a trial happens: two servers of one version, a fresh database on each, and the programs beside them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from nms.common.db.embedded_place import account_for
from tests.services.postgres import PostgresServer, find_programs

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "track_commit_timestamp": "on",
    "max_connections": "100",
    "autovacuum": "off",
}
"""The same for all: no checkpoint and no vacuum falls into one contestant's trial; fsync stays on."""


@dataclass
class Place:
    """Two databases with the same empty tables."""

    source: PostgresServer
    target: PostgresServer
    own: PostgresServer
    database: str

    @property
    def source_dsn(self) -> str:
        return self.source.superuser_dsn(self.database)

    @property
    def target_dsn(self) -> str:
        return self.target.superuser_dsn(self.database)

    def program(self, name: str) -> str:
        """The path of psql or pgbench of the servers' version."""
        return str(find_programs(self.source.version, account_for(Path("/tmp"))) / name)

    async def on_source(self, sql: str, *values: object) -> Any:
        """Run statements at the source; answers the first value of the last one where there is one."""
        return await run_once(self.source_dsn, sql, *values)

    async def on_target(self, sql: str, *values: object) -> Any:
        """The same at the target."""
        return await run_once(self.target_dsn, sql, *values)


async def run_once(dsn: str, sql: str, *values: object) -> Any:
    """Run a statement on a connection of its own; without values it may be a script."""
    connection = await asyncpg.connect(dsn, command_timeout=1800)
    try:
        if values or sql.lstrip().startswith("select"):
            return await connection.fetchval(sql, *values)
        return await connection.execute(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def open_servers(version: str, settings: Mapping[str, str]) -> AsyncIterator[list[PostgresServer]]:
    """Source, target and our own server, gone afterwards."""
    servers = [PostgresServer(version, settings={**SETTINGS, **settings}) for _ in range(3)]
    try:
        await asyncio.gather(*(server.start() for server in servers))
        yield servers
    finally:
        await asyncio.gather(*(server.close() for server in servers))


@asynccontextmanager
async def open_place(servers: list[PostgresServer], schema: str) -> AsyncIterator[Place]:
    """A fresh database with the schema on both sides, dropped afterwards."""
    source, target, own = servers
    name = f"bench_{uuid.uuid4().hex[:8]}"
    await asyncio.gather(source.create_database(name), target.create_database(name))
    place = Place(source, target, own, name)
    try:
        await place.on_source(schema)
        await place.on_target(schema)
        yield place
    finally:
        await target.drop_database(name)
        await source.drop_database(name)


async def settle(place: Place) -> None:
    """What earlier trials left unwritten is written now, so that each begins alike."""
    await asyncio.gather(place.on_source("checkpoint"), place.on_target("checkpoint"))


async def wait_for(dsn: str, condition: str, seconds: float = 1800, pause: float = 0.005) -> None:
    """Ask the server until the condition holds; one connection, a question every few milliseconds."""
    connection = await asyncpg.connect(dsn)
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    try:
        while not await connection.fetchval(f"select coalesce(({condition}), false)"):
            if clock() > deadline:
                raise TimeoutError(f"never came true within {seconds:.0f} s: {condition}")
            await asyncio.sleep(pause)
    finally:
        await connection.close()
