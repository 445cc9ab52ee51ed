"""Where pulls are measured: an API, a PostgreSQL of its own, and an installation of NMS with one worker beside it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from bench.meter import Meter, Usage
from bench.place import wait_for
from tests.flow.installation import ROOT, Installation
from tests.services.postgres import PostgresServer

SERVER = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "autovacuum": "off"}
"""The same for all: no checkpoint and no vacuum falls into a trial; fsync stays on."""
PREPARE = ROOT / "nms/connectors/postgres/prepare.sql"
COLUMNS = (
    "id bigint primary key, name text, email text, city text, amount numeric, active boolean, updated_at timestamptz,"
    " note text"
)
WIDE = "id bigint primary key, text text"
DONE = (
    "select position ? 'datasets' and not position ? 'round' and (position ->> 'place')::int > {place}"
    " from nms.position where pipeline = '{pipeline}'"
)
PLACE = "select coalesce(max((position ->> 'place')::int), 0) from nms.position where pipeline = $1"
LONGEST = 900.0
Documents = list[dict[str, Any]]


@dataclass
class Api:
    """The API in its own process."""

    port: int

    @classmethod
    @asynccontextmanager
    async def running(cls, records: int) -> AsyncIterator["Api"]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.rest.server", str(records), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            yield cls(int(await process.stdout.readline()))
        finally:
            process.kill()
            await process.wait()

    async def control(self, **wishes: float) -> dict[str, float]:
        """Say how it answers from now on; tells how often it was asked since the last time, and when first."""
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/control", params=wishes, timeout=60)
        told: dict[str, float] = answer.json()
        return told


@dataclass
class Place:
    """What a measurement needs; every load goes into a table of its own."""

    api: Api
    server: PostgresServer
    installation: Installation
    dsn: str
    records: int
    names: list[str] = field(default_factory=list)

    async def at_target(self, sql: str, *values: object) -> Any:
        """Run a statement at the target; answers its first value."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(sql, *values) if values else await _run(connection, sql)
        finally:
            await connection.close()

    async def make_table(self, kind: str, columns: str = COLUMNS) -> str:
        """A new, empty table; answers its name."""
        self.names.append(f"{kind}_{len(self.names)}")
        await self.at_target(f"create table {self.names[-1]} ({columns})")
        await self.at_target("checkpoint")
        return self.names[-1]

    async def apply(self, documents: Documents) -> None:
        """Store documents."""
        path = self.installation.directory / "documents.yaml"
        path.write_text("\n---\n".join(json.dumps(document) for document in documents))
        await self.installation.call("apply", "-f", str(path))

    async def wait_round(self, pipeline: str, place: int = 0) -> None:
        """Wait until a round that ended behind a place is durable at the target."""
        waiting = asyncio.create_task(wait_for(self.dsn, DONE.format(place=place, pipeline=pipeline), LONGEST))
        halted = asyncio.create_task(self._halts(pipeline))
        await asyncio.wait({waiting, halted}, return_when=asyncio.FIRST_COMPLETED)
        halted.cancel()
        if not waiting.done():
            waiting.cancel()
            raise AssertionError(f"{pipeline} halted: {halted.result()}")
        await waiting

    async def standing(self, pipeline: str) -> int:
        """The place of the newest batch that the target has of a pipeline."""
        return int(await self.at_target(PLACE, pipeline))

    def meter(self) -> Meter:
        """Measures the worker from now on."""
        return Meter([one.pid for one in self.installation.workers])

    async def _halts(self, pipeline: str) -> Any:
        while True:
            standing = await self.installation.standing(pipeline)
            if standing.get("phase") == "halted":
                return standing["problem"]
            await asyncio.sleep(0.5)


@asynccontextmanager
async def open_place(records: int) -> AsyncIterator[Place]:
    """All of it, gone afterwards."""
    server = PostgresServer("18", settings=SERVER)
    await server.start()
    try:
        await server.create_database("shop")
        dsn = server.superuser_dsn("shop")
        async with Api.running(records) as api:
            installation = Installation(server, {"target": dsn})
            installation.environment["EGRESS_ALLOW"] = "127.0.0.1"
            place = Place(api, server, installation, dsn, records)
            await place.at_target(PREPARE.read_text())
            await installation.set_up()
            try:
                installation.start_worker()
                yield place
            finally:
                await installation.tear_down()
    finally:
        await server.close()


def system(port: int, name: str = "api", **parts: Any) -> dict[str, Any]:
    """The API as a system."""
    numbered = {"style": "page", "parameter": "page", "total": "total"}
    resource = {"path": "/numbered", "records": "data", "paging": numbered}
    return {
        "kind": "system", "name": name, "type": "rest", "url": f"http://127.0.0.1:{port}",
        "resources": {
            "numbered": resource,
            "cursor": {"path": "/cursor", "records": "data",
                       "paging": {"style": "cursor", "parameter": "cursor", "next": "next"}},
            "changing": {**resource, "since": {"parameter": "updated_since", "field": "updated_at"}},
            "wide": {**resource, "path": "/wide"},
            "hang": {**resource, "path": "/hang"},
        },
        **parts,
    }  # fmt: skip


def pipeline(name: str, resource: str, table: str, source: str = "api") -> dict[str, Any]:
    """A pipeline of one resource into one table, named as that is."""
    return {
        "kind": "pipeline", "name": name, "source": source, "target": "target", "capture": "pull", "every": "1h",
        "datasets": [{"source": resource, "target": f"public.{table}"}],
    }  # fmt: skip


TARGET = {"kind": "system", "name": "target", "type": "postgres", "dsn": "env://TARGET_DSN"}


async def _run(connection: Any, sql: str) -> Any:
    if sql.lstrip().startswith("select"):
        return await connection.fetchval(sql)
    return await connection.execute(sql)


__all__ = ["LONGEST", "TARGET", "WIDE", "Api", "Path", "Place", "Usage", "open_place", "pipeline", "system"]
