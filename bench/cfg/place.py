"""Where cfg is measured: one durable PostgreSQL, and the role in a process of its own, as users run it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from bench.auth.place import ENVIRONMENT, SERVER, settings_of
from bench.cfg.writers import TOKEN
from nms.common.db.migrations import upgrade
from nms.common.settings import get_settings
from nms.common.token import mint_token
from tests.service.role_process import ROOT, UVICORN, RoleProcess, running
from tests.services.postgres import PostgresServer

HISTORY = """
select count(*) as revisions, coalesce(max(id), $1) - $1 - count(*) as gaps,
    count(*) filter (where number is distinct from coalesce(before + 1, 0)) as lost
from (
    select r.id, split_part(d.body ->> 'dsn', '_', 2)::bigint as number,
        lag(split_part(d.body ->> 'dsn', '_', 2)::bigint) over (order by r.id) as before
    from cfg.revision as r left join cfg.document as d on d.revision = r.id
    where r.id > $1
) as history
"""
"""Over revisions: holes in their numbers, and those that did not build on the one before; the first one writes a 0."""


@dataclass
class Place:
    """The role, and its database."""

    role: RoleProcess
    database: asyncpg.Connection
    environment: dict[str, str]

    async def start(self, module: str, *words: int) -> asyncio.subprocess.Process:
        """A load in a process of its own, on the port of the role."""
        port = self.role.address.rpartition(":")[2]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"bench.cfg.{module}", port, *map(str, words)),
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=asyncio.subprocess.PIPE,
        )

    async def finish(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        """What a load prints at its end."""
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the load ended with {process.returncode}: {self.role.log[-2000:]}")
        told: dict[str, Any] = json.loads(output)
        return told

    async def newest(self) -> int:
        """The newest revision."""
        return int(await self.database.fetchval("select coalesce(max(id), 0) from cfg.revision"))


async def read_history(database: Any, after: int) -> dict[str, int]:
    """What the revisions behind one tell: how many there are, `gaps` between them, and updates that were `lost`."""
    (told,) = await database.fetch(HISTORY, after)
    return dict(told)


@asynccontextmanager
async def open_place(folder: Path) -> AsyncIterator[Place]:
    """The role with an empty store."""
    postgres = PostgresServer("18", settings=SERVER)
    await postgres.start()
    try:
        dsn = await postgres.create_database("nms")
        await upgrade(dsn, ROOT / "db" / "nms" / "migrations")
        environment = {**ENVIRONMENT, "DB_NMS_DSN": dsn}
        with settings_of(environment):
            environment[TOKEN] = mint_token(
                get_settings(), ["config:read", "config:write"], subject="bench", seconds=24 * 3600
            )
        database = await asyncpg.connect(dsn)
        async with running("nms.cfg.main:app", folder, server=UVICORN, environment=environment) as role:
            yield Place(role, database, environment)
        await database.close()
    finally:
        await postgres.close()
