"""Ours: an installation on its own server, one worker process, driven by `nms apply`, `nms pause` and `nms resume`.

What is measured begins when the wish stands in the database (the run was queued): the start of a Python process that
only files it is no part of moving data. The worker runs all the time.
"""

from collections.abc import Sequence

from bench.place import Place, wait_for
from tests.flow.installation import ROOT, Installation, Worker

PIPELINE = "bench"
PREPARE = ROOT / "nms/connectors/postgres/prepare.sql"
ASKED = "select extract(epoch from max(created_at)) from common.run where subject = $1"
PHASE = "select phase = '{phase}' from sync.pipeline where name = 'bench'"


class Nms:
    """One pipeline, one worker."""

    name = "nms"

    def __init__(self) -> None:
        self.installation: Installation | None = None
        self.worker: Worker | None = None

    async def prepare(self, place: Place) -> None:
        await place.on_target(PREPARE.read_text())
        systems = {"source": place.source_dsn, "target": place.target_dsn}
        self.installation = Installation(place.own, systems)
        await self.installation.set_up()
        self.worker = self.installation.start_worker()

    async def begin(self, tables: Sequence[str], *, copy: bool) -> float:
        await self._here.apply(PIPELINE, tables, copy=copy)
        return float(await self._here.ask(ASKED, PIPELINE))

    async def wait_ready(self) -> None:
        await self._wait("streaming")

    async def pause(self) -> None:
        await self._here.call("pause", PIPELINE)
        await self._wait("paused")

    async def resume(self) -> float:
        await self._here.call("resume", PIPELINE)
        return float(await self._here.ask(ASKED, PIPELINE))

    async def end(self) -> None:
        await self._here.tear_down()

    def pids(self) -> Sequence[int]:
        assert self.worker is not None
        return (self.worker.pid,)

    async def _wait(self, phase: str) -> None:
        dsn = self._here.own.dsn(self._here.databases["nms"])
        await wait_for(dsn, PHASE.format(phase=phase), pause=0.02)

    @property
    def _here(self) -> Installation:
        assert self.installation is not None
        return self.installation
