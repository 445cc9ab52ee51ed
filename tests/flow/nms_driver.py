"""NMS in the hands of the fault campaign: two workers, one pipeline, and somebody who kills."""

import asyncio
import random
import signal
from pathlib import Path

import asyncpg

from tests.flow.drivers import Sides
from tests.flow.installation import ROOT, Installation, Worker
from tests.flow.proof.records import TABLES

PIPELINE = "proof"
PREPARE = Path(ROOT, "nms/connectors/postgres/prepare.sql")


class NmsDriver:
    """Two workers; a killed one is replaced at once, as a process supervisor would."""

    points: tuple[str, ...] = ("apply.before_commit", "apply.after_commit")
    backfill_points: tuple[str, ...] = ("load.before_commit", "backfill.after_read")

    def __init__(self, seed: int, *, lease: float = 5.0, slow: float = 0.0) -> None:
        """With `slow` a worker rests that many seconds at each chunk, so that many faults fall into the backfill."""
        self.random = random.Random(seed)
        self.lease = lease
        self.slowness = f"backfill.after_read=delay:{slow}" if slow else ""
        self.slow = self.slowness
        self.installation: Installation | None = None
        self.frozen: Worker | None = None

    async def begin(self, sides: Sides) -> None:
        connection = await asyncpg.connect(sides.target_dsn)
        await connection.execute(PREPARE.read_text())
        await connection.close()
        systems = {"source": sides.source_dsn, "target": sides.target_dsn}
        self.slow = self.slowness
        self.installation = Installation(sides.own, systems, lease=self.lease)
        await self.installation.set_up()
        for _ in range(2):
            self.installation.start_worker(self.slow)
        await self.installation.apply(PIPELINE, list(TABLES))

    async def is_backfilled(self) -> bool:
        return (await self._here.standing(PIPELINE)).get("phase") == "streaming"

    async def kill(self) -> None:
        here = self._here
        victim = await here.holder(PIPELINE) or self.random.choice(here.workers)
        victim.kill()
        here.forget(victim)
        here.start_worker(self.slow)

    async def kill_at(self, point: str, nth: int) -> bool:
        """One armed worker takes the place of all others and dies of its own; then there are two again."""
        here = self._here
        for worker in list(here.workers):
            worker.kill()
            here.forget(worker)
        armed = here.start_worker(",".join(filter(None, (self.slow, f"{point}=kill@{nth}"))))
        reached = True
        try:
            await asyncio.wait_for(asyncio.to_thread(armed.process.wait), 3 * self.lease + 10)
        except TimeoutError:
            reached = False
            armed.kill()
        here.forget(armed)
        for _ in range(2):
            here.start_worker(self.slow)
        return reached

    async def hurry(self) -> None:
        self.slow = ""
        await self.replace_all()

    async def replace_all(self) -> None:
        for worker in list(self._here.workers):
            worker.kill()
            self._here.forget(worker)
        for _ in range(2):
            self._here.start_worker(self.slow)

    async def freeze(self) -> None:
        self.frozen = await self._here.holder(PIPELINE)
        if self.frozen is not None:
            self.frozen.signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        if self.frozen is not None:
            self.frozen.signal(signal.SIGCONT)
        self.frozen = None

    async def explain(self) -> str:
        return f"{await self._here.standing(PIPELINE)}\n{self._here.tails()}"

    async def complaints(self) -> list[str]:
        query = "select array_agg(q::text) from (select * from sync.quarantine order by id limit 20) q"
        return await self._here.ask(query) or []

    async def end(self) -> None:
        if self.installation is not None:
            await self.installation.tear_down()
        self.installation = None

    @property
    def _here(self) -> Installation:
        assert self.installation is not None
        return self.installation
