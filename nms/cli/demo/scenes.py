"""The course of the demo: set up, copy beside traffic, kill a worker, catch up, compare."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nms
from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cli.demo.digest import compare
from nms.cli.demo.outcome import Outcome
from nms.cli.demo.process import run_together
from nms.cli.demo.screen import Screen
from nms.cli.demo.stage import WRITER, Stage, queries
from nms.cli.demo.subscriptions import fill
from nms.cli.demo.traffic import CLIENTS, write_for
from nms.cli.demo.view import View
from nms.cli.demo.watch import Watch
from nms.cli.plan import read_files
from nms.common import faults
from nms.common.db import migrations
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.revisions import folder_of
from nms.common.settings import get_settings
from nms.sync.pipeline import adopt

DOCUMENTS = ("subscriptions-log.yaml", "pgbench.yaml")
DATASETS = (
    "public.subscription",
    "public.pgbench_branches",
    "public.pgbench_tellers",
    "public.pgbench_accounts",
    "public.pgbench_history",
)
LEASE_SECONDS = 3.0
WORKERS = 2


@dataclass(frozen=True)
class Size:
    """How much is copied and written: subscriptions, pgbench's scale (100,000 accounts each), seconds of traffic."""

    rows: int
    scale: int
    seconds: float


class Demo:
    """One performance on a stage."""

    def __init__(self, stage: Stage, size: Size, screen: Screen, view: View) -> None:
        self._stage = stage
        self._size = size
        self._screen = screen
        self._view = view
        self._takeover = 0.0

    async def perform(self) -> Outcome:
        """Set up, write, kill, catch up, compare."""
        await self._set_up()
        source = await self._stage.connect("billing")
        try:
            watch = Watch(self._view, self._screen, source, self._stage)
            watching = asyncio.create_task(watch.run())
            try:
                await _while(watching, self._write(watch))
                await _while(watching, self._catch_up(watch, source))
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            return await self._judge()
        finally:
            await source.close()

    async def _set_up(self) -> None:
        self._screen.tell(f"PostgreSQL 18 runs on port {self._stage.server.port}, with databases billing and crm.")
        size = self._size
        self._screen.tell(f"Filling billing: {size.rows:,} subscriptions, {size.scale * 100_000:,} pgbench accounts.")
        await run_together(self._start_workers(), self._fill_source(), self._prepare_target())
        for name in DOCUMENTS:
            await _apply(examples() / name)
        self._screen.tell("Applied examples/subscriptions-log.yaml and examples/pgbench.yaml: two pipelines start.")

    async def _start_workers(self) -> None:
        for kind in DSNType:
            await migrations.upgrade(dsn_of(kind, get_settings()), folder_of(kind) / "migrations")
        for _ in range(WORKERS):
            await self._stage.start_worker(LEASE_SECONDS)

    async def _fill_source(self) -> None:
        stage = self._stage
        await stage.run_script("tables.sql", "billing")
        filling = await stage.start_pgbench("billing", "-i", "-q", "-s", str(self._size.scale), "-I", "tgvp")
        connection = await stage.connect("billing")
        try:
            await fill(connection, self._size.rows)
            await filling.finish()
        finally:
            await filling.end()
            await connection.close()

    async def _prepare_target(self) -> None:
        stage = self._stage
        await stage.run_script("tables.sql", "crm")
        await (await stage.start_pgbench("crm", "-i", "-q", "-I", "tp")).finish()
        await stage.run_script("grants.sql", "crm")
        await stage.prepare_target()

    async def _write(self, watch: Watch) -> None:
        seconds = self._size.seconds
        self._view.title = "The company writes; NMS copies what was there and follows"
        self._view.writing_until = time.monotonic() + seconds
        self._screen.tell(f"The company writes for {seconds:.0f} s: {CLIENTS} clients of pgbench, 2 on subscriptions.")
        await run_together(
            write_for(self._stage, seconds, self._view.written), self._strike(watch, self._view.writing_until)
        )
        self._view.writing_until = None
        self._screen.tell(f"The company has stopped writing: {self._view.written.changes:,} row changes committed.")

    async def _strike(self, watch: Watch, end: float) -> None:
        """Half way, kill the worker that has most to do, and wait until another has its pipelines."""
        await asyncio.sleep(max(0.0, (end - time.monotonic()) / 2))
        await watch.until(
            lambda view: len(view.workers) == len(DOCUMENTS) == len(view.epochs), "for the pipelines to start"
        )
        name = next(self._view.workers[name] for name in ("pgbench", "subscriptions") if name in self._view.workers)
        held = sorted(pipeline for pipeline, worker in self._view.workers.items() if worker == name)
        victim = next(worker for worker in self._stage.workers if worker.name == name)
        epochs = self._view.epochs
        victim.kill()
        killed = time.monotonic()
        self._screen.tell(f"SIGKILL to {name} (process {victim.pid}), which worked {' and '.join(held)}.")
        await watch.until(
            lambda view: all(view.workers[one] != name and view.epochs.get(one, 0) > epochs[one] for one in held),
            "for another worker to take over",
        )
        self._takeover = time.monotonic() - killed
        heirs = " and ".join(sorted({self._view.workers[one] for one in held}))
        self._screen.tell(f"{heirs.capitalize()} took over after {self._takeover:.1f} s, where the target stood.")

    async def _catch_up(self, watch: Watch, source: Any) -> None:
        self._view.title = "Waiting until every change has arrived"
        end = await queries.get_log_end(source)
        await watch.until_confirmed(end)
        self._screen.tell("Both slots have confirmed the source's last change.")

    async def _judge(self) -> Outcome:
        faults.point("demo.before_digest")
        self._view.title = "Comparing every row of both sides"
        source, target = await self._stage.connect("billing"), await self._stage.connect("crm", WRITER)
        try:
            differences = await compare(source, target, DATASETS)
        finally:
            await source.close()
            await target.close()
        return Outcome(differences, self._view.written, self._view.applied, self._takeover, self._view.elapsed)


async def _apply(path: Path) -> None:
    """What `nms apply -f` does."""
    repository = await DocumentRepository.open()
    await apply_changeset(repository, Changeset(read_files([path]), message="demo", author="nms demo"))
    await adopt(repository)


async def _while(watching: "asyncio.Task[None]", work: Any) -> None:
    """Do the work, unless the watch sees that it cannot come to an end."""
    doing = asyncio.create_task(work)
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            await watching
        await doing
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


def examples() -> Path:
    """The folder of ready configurations: in the checkout, or inside the package of an installed wheel."""
    package = Path(nms.__file__).parent
    checkout = package.parent / "examples"
    return checkout if checkout.is_dir() else package / "examples"
