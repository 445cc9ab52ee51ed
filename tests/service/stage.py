"""A stage for pipelines: two databases, documents, a worker in this process, and the command line."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from typer.testing import CliRunner, Result

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.cli.main import app
from nms.common.settings import Settings
from nms.sync.models import Pipeline
from nms.sync.pipeline import adopt
from nms.sync.repository import SyncRepository
from nms.sync.worker import run_worker
from tests.waiting import PATIENCE, eventually

PREPARE = Path(__file__).parents[2] / "nms/connectors/postgres/prepare.sql"
TABLE = "create table public.item (id bigint primary key, name text not null)"


@dataclass
class Stage:
    """Where pipelines run in a test. Systems `source` and `target` are there once `systems()` is applied."""

    settings: Settings
    source: str
    target: str
    passwords: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def set(cls, settings: Settings, source: str, target: str) -> "Stage":
        """A stage whose target is prepared, with the table public.item on both sides."""
        stage = cls(settings, source, target)
        await stage.at("source", TABLE)
        await stage.at("target", TABLE)
        await stage.at("target", PREPARE.read_text())
        return stage

    async def at(self, side: str, sql: str) -> list[Any]:
        """The first column of what some SQL answers at `source`, `target`, or a DSN."""
        connection = await asyncpg.connect({"source": self.source, "target": self.target}.get(side, side))
        try:
            if sql.lstrip().startswith("select") or " returning " in sql:
                return [row[0] for row in await connection.fetch(sql)]
            await connection.execute(sql)
            return []
        finally:
            await connection.close()

    def systems(self, **dsns: str) -> list[dict[str, Any]]:
        """Documents of systems; `source` and `target` where none are named."""
        named = dsns or {"source": self.source, "target": self.target}
        return [
            {"kind": "system", "name": name, "type": "postgres", "dsn": without_password(dsn)}
            for name, dsn in named.items()
        ]

    async def apply(self, *documents: dict[str, Any]) -> list[str]:
        """Store documents and let the pipelines follow; gives the names of those that changed."""
        repository = await DocumentRepository.open()
        await apply_changeset(repository, Changeset([Draft(each) for each in documents], author="test"))
        return await adopt(repository)

    async def begin(self, name: str = "items", *tables: str, **parts: Any) -> None:
        """Apply systems and one pipeline over tables (default public.item)."""
        await self.apply(*self.systems(), pipeline(name, *tables, **parts))

    async def get(self, name: str = "items") -> Pipeline:
        """The pipeline as it stands."""
        found = await (await SyncRepository.open()).get_pipeline(name)
        assert found is not None
        return found

    async def reach(self, *phases: str, name: str = "items", seconds: float = PATIENCE) -> Pipeline:
        """Wait until the pipeline is in one of the phases."""

        async def look() -> Pipeline | None:
            found = await self.get(name)
            return found if found.phase in phases else None

        try:
            return await eventually(look, seconds)
        except AssertionError:
            raise AssertionError(f"not {phases} within {seconds} s: {await self.get(name)!r}") from None

    async def arrive(self, sql: str, expected: list[Any], *, seconds: float = PATIENCE) -> None:
        """Wait until the target answers what is expected, over one session: each look slows what it awaits."""
        session = await asyncpg.connect(self.target, statement_cache_size=0)

        async def look() -> bool:
            nonlocal session
            if session.is_closed():
                session = await asyncpg.connect(self.target, statement_cache_size=0)
            return [row[0] for row in await session.fetch(sql)] == expected

        try:
            await eventually(look, seconds)
        finally:
            await session.close()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker at work in this process."""
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(self.settings, stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(worker, PATIENCE)

    async def nms(self, *words: object, **options: Any) -> Result:
        """Run the command `nms` as an operator types it."""
        return await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words], **options)

    async def answer(self, *words: object) -> Any:
        """What a command prints with --json; it must not print a problem."""
        result = await self.nms(*words, "--json")
        assert result.stdout, result.stderr
        return json.loads(result.stdout)


def pipeline(name: str = "items", *tables: str, **parts: Any) -> dict[str, Any]:
    """The document of a pipeline from source to target."""
    datasets = [{"source": table} for table in tables or ("public.item",)]
    return {"kind": "pipeline", "name": name, "source": "source", "target": "target", "datasets": datasets, **parts}


def without_password(dsn: str) -> str:
    """A DSN as documents take it; the servers of tests trust every login of this machine."""
    parts = urlsplit(dsn)
    return f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}"
