"""The real worker inside the test's own process, on one pipeline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.settings import Settings
from nms.sync.models import Pipeline, Quarantined, Selection
from nms.sync.pipeline import adopt, ask_drop, ask_replay, get_pipeline, resume, resync
from nms.sync.repository import SyncRepository
from nms.sync.worker import run_worker
from tests.contract.pipelines import Pipe
from tests.waiting import PATIENCE, eventually

NAME = "p"


@dataclass
class Work:
    """A pipeline that the worker has, and what an operator asks of it."""

    pipe: Pipe
    repository: SyncRepository

    async def standing(self) -> Pipeline:
        """Where the pipeline stands."""
        return await get_pipeline(self.repository, NAME)

    async def phase(self, phase: str, seconds: float = PATIENCE) -> Pipeline:
        """Wait for a phase."""

        async def look() -> Pipeline | None:
            standing = await self.standing()
            return standing if standing.phase == phase else None

        try:
            return await eventually(look, seconds)
        except AssertionError as late:
            raise AssertionError(f"no {phase}: {await self.standing()}") from late

    async def held(self, count: int) -> list[Quarantined]:
        """Wait until so many changes are held; oldest first."""

        async def look() -> bool:
            return len(await self._list()) == count

        try:
            await eventually(look)
        except AssertionError as late:
            raise AssertionError(f"held is {await self._list()}; {await self.standing()}") from late
        return await self._list()

    async def changed(self, before: Quarantined) -> Quarantined:
        """Wait until a replay of this one has been tried."""

        async def look() -> Quarantined | None:
            (now,) = [one for one in await self._list() if one.id == before.id]
            return now if now.state == "held" and now.updated_at > before.updated_at else None

        return await eventually(look)

    async def same(self, *tables: str) -> None:
        """Wait until the tables of both ends have the same rows."""

        async def look() -> bool:
            try:
                await self.pipe.compare(*tables)
            except AssertionError:
                return False
            return True

        try:
            await eventually(look)
        except AssertionError as late:
            print(await self.standing())  # noqa: T201
            await self.pipe.compare(*tables)
            raise late

    async def seen(self, question: str, answer: object) -> None:
        """Wait until the target answers a question so."""
        last: object = None

        async def look() -> bool:
            nonlocal last
            last = await self.pipe.target.fetchval(question)
            return last == answer

        try:
            await eventually(look)
        except AssertionError as late:
            raise AssertionError(f"{question}: {last!r}, not {answer!r}; {await self.standing()}") from late

    async def replay(self, key: str | None = None) -> None:
        """Replay one key or all."""
        await ask_replay(self.repository, NAME, _selection(key))

    async def drop(self, key: str | None = None) -> None:
        """Drop one key or all."""
        await ask_drop(self.repository, NAME, _selection(key))

    async def resync(self) -> None:
        """Begin a new generation."""
        await resync(self.repository, NAME)

    async def resume(self) -> None:
        """Go on after a halt."""
        await resume(self.repository, NAME)

    async def _list(self) -> list[Quarantined]:
        rows = await self.repository.list_quarantine(NAME, size=20_000)
        return [row for row in rows[::-1] if row.state in ("held", "replaying", "dropping")]


@asynccontextmanager
async def working(pipe: Pipe, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Work]:
    """Work the pipeline of a pipe by the documents an operator would apply."""
    monkeypatch.setenv("LEFT_DSN", pipe.spec.source.dsn)
    monkeypatch.setenv("RIGHT_DSN", pipe.spec.target.dsn)
    documents = [
        {"kind": "system", "name": "left", "type": "postgres", "dsn": "env://LEFT_DSN"},
        {"kind": "system", "name": "right", "type": "postgres", "dsn": "env://RIGHT_DSN"},
        {
            "kind": "pipeline",
            "name": NAME,
            "source": "left",
            "target": "right",
            "datasets": [{"source": one.source, "target": one.target} for one in pipe.spec.datasets],
        },
    ]
    drafts = [Draft(document) for document in documents]
    await apply_changeset(await DocumentRepository.open(), Changeset(drafts))
    repository = await SyncRepository.open()
    await adopt(repository)
    async with worker(settings):
        yield Work(pipe, repository)


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[None]:
    """A worker until the block ends."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_worker(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await running


def _selection(key: str | None) -> Selection:
    return Selection(all=True) if key is None else Selection(dataset="public.t", key=key)
