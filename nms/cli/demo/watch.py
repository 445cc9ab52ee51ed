"""Looks twice a second where the pipelines stand, and tells what it sees to the screen."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from nms.cli.demo.screen import Screen
from nms.cli.demo.stage import Stage, queries
from nms.cli.demo.view import View
from nms.common.problem import Problem
from nms.common.run import RunRepository
from nms.connectors.postgres.catalog import Connection
from nms.sync.pipeline import KIND
from nms.sync.repository import SyncRepository

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""How long nothing may move before the demo gives up."""
LIMIT_SECONDS = 600.0
"""How long catching up may take at most."""


class DemoStuck(Problem):
    """A pipeline of the demo stopped, or nothing moved for a minute."""

    code, title = "demo-stuck", "The demo does not come to its end"
    remedy = "The workers' logs are in the directory that `path` names; report it with them."


class Watch:
    """Keeps a view up to date, from the same tables that `nms pipelines` reads."""

    def __init__(self, view: View, screen: Screen, source: Connection, stage: Stage) -> None:
        self.view = view
        self._screen = screen
        self._source = source
        self._stage = stage
        self._seen: dict[str, Any] = {}
        self._moved_at = time.monotonic()

    async def run(self) -> None:
        """Look and show until cancelled; raises DemoStuck."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once."""
        view = self.view
        repository = await SyncRepository.open()
        view.pipelines = await repository.list_pipelines()
        view.workers = await self._list_workers(repository)
        self._check()
        self._screen.show(view)

    async def until(self, done: Callable[[View], bool], what: str) -> None:
        """Wait until the view says so; raises DemoStuck when nothing has moved for a minute."""
        while not done(self.view):
            if time.monotonic() - self._moved_at > PATIENCE_SECONDS:
                raise self._give_up(f"Nothing has moved for {PATIENCE_SECONDS:.0f} s while waiting {what}.")
            await asyncio.sleep(LOOK_SECONDS / 2)

    async def until_confirmed(self, place: int) -> None:
        """Wait until the slots of both pipelines have confirmed the log up to a place; raises DemoStuck."""
        end = time.monotonic() + LIMIT_SECONDS
        while True:
            slots = {row["name"]: row["confirmed"] for row in await queries.list_slots(self._source, prefix="nms_")}
            self.view.to_go = sum(max(0, place - confirmed) for confirmed in slots.values())
            waiting = [one.name for one in self.view.pipelines if one.phase != "streaming"]
            if not self.view.to_go and len(slots) == len(self.view.pipelines) > 0 and not waiting:
                return
            self._note("slots", self.view.to_go)
            if time.monotonic() > end or time.monotonic() - self._moved_at > PATIENCE_SECONDS:
                raise self._give_up("The target does not come nearer to the source.")
            await asyncio.sleep(LOOK_SECONDS / 2)

    async def _list_workers(self, repository: SyncRepository) -> dict[str, str]:
        """Which worker has each pipeline."""
        names = {str(worker.pid): worker.name for worker in self._stage.workers}
        runs = RunRepository(repository.connection)
        found = {}
        for pipeline in self.view.pipelines:
            for run in await runs.list(kind=KIND, subject=pipeline.name, size=1):
                if run.worker is not None:
                    found[pipeline.name] = names.get(run.worker.rpartition(":")[2], run.worker)
        return found

    def _check(self) -> None:
        self._stage.check_workers()
        for pipeline in self.view.pipelines:
            if pipeline.phase == "halted":
                said = pipeline.problem or {}
                raise self._give_up(f"The pipeline {pipeline.name} halted: {said.get('detail')}", problem=said)
        self._note("pipelines", [(one.status.get("counts"), one.position) for one in self.view.pipelines])

    def _give_up(self, sentence: str, **facts: Any) -> DemoStuck:
        said = {one.name: one.problem.get("detail") for one in self.view.pipelines if one.problem}
        return DemoStuck(sentence, path=str(self._stage.place), pipelines=said, **facts)

    def _note(self, kind: str, seen: Any) -> None:
        if seen != self._seen.get(kind):
            self._seen[kind] = seen
            self._moved_at = time.monotonic()
