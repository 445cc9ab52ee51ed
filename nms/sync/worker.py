"""The worker: claims pipelines under leases and works them; a pipeline that meets trouble is opened anew."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nms.common import clock, outbox
from nms.common.configuration import current_documents
from nms.common.custody import Custody
from nms.common.flow import Opened
from nms.common.following import followed
from nms.common.problem import Problem, Retry
from nms.common.rounds import Rounds
from nms.common.run import Claimed, Crew, LeaseLost, RunRepository
from nms.common.settings import Settings, read_settings
from nms.connectors.warehouse.connector import require_built
from nms.events.sync import PipelineHalted
from nms.sync.apply import Applier
from nms.sync.capture import Way, open_capture, release_capture
from nms.sync.conflict import Conflicts
from nms.sync.guard import guard
from nms.sync.ledger import ChangeLedger, purge
from nms.sync.mapping import way_of
from nms.sync.models import Pipeline
from nms.sync.outbox import attend
from nms.sync.pipeline import KIND, REMOVAL, check_neighbours, get_pipeline, is_leaving
from nms.sync.position import PositionStore, Standing
from nms.sync.problems import PipelineCrashed, PipelineGone, RemovalUnderWay
from nms.sync.quarantine import Holder, Quarantine
from nms.sync.repository import SyncRepository
from nms.sync.round import KIND as ROUND
from nms.sync.round import Follower
from nms.sync.settings import SyncSettings
from nms.sync.twoway import open_both_ways

log = logging.getLogger(__name__)

HEALTHY_SECONDS = 30.0
LONGEST_PAUSE = 5.0
LEAVE_SECONDS = 3.0

Handling = Callable[[Claimed], Coroutine[Any, Any, None]]


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Work pipelines until `stop` is set."""
    repository = await SyncRepository.open()
    work = Work(repository, settings, read_settings(SyncSettings))
    crew = Crew(
        await RunRepository.open(),
        {KIND: work.move, REMOVAL: work.remove, ROUND: Follower(repository).follow},
        worker=f"{socket.gethostname()}:{os.getpid()}",
        size=work.role.pipelines,
        lease=work.role.lease,
    )
    crew.aside = frozenset({ROUND})
    keep = work.role.changes_keep * 86_400.0
    attending = asyncio.gather(
        attend(repository, settings, stop), guard(repository, stop), purge(repository, keep, stop)
    )
    try:
        async with followed(Custody()):
            await crew.run(stop)
    finally:
        await _dismiss(attending, stop)


async def _dismiss(attending: asyncio.Future[Any], stop: asyncio.Event) -> None:
    try:
        if stop.is_set():
            # They were told to stop too; cut off in that, the report of this process would not be taken back.
            await asyncio.wait([attending], timeout=LEAVE_SECONDS)
    finally:
        attending.cancel()
        await asyncio.gather(attending, return_exceptions=True)


class Work:
    """The handlers of the runs that the sync room has."""

    def __init__(self, repository: SyncRepository, settings: Settings, role: SyncSettings) -> None:
        self._repository = repository
        self._spool: Path = settings.data_dir / "spool"
        self.role = role
        self._troubles: dict[str, tuple[int, datetime]] = {}

    async def move(self, claimed: Claimed) -> None:
        """Work one pipeline until it is asked to stop; raises the Problem that halts it."""
        failures = 0
        while not claimed.stopping.is_set():
            began = time.monotonic()
            problem = await _until_stopped(claimed, self._work)
            if problem is None or isinstance(problem, PipelineGone):
                return
            if isinstance(problem, LeaseLost):
                raise problem
            if time.monotonic() - began > HEALTHY_SECONDS:
                failures = 0
            failures += 1
            await self._tell(claimed, problem)
            pause = clock.backoff(failures, base=0.1 if problem.retry is Retry.NOW else 0.3, cap=LONGEST_PAUSE)
            await _pause(claimed.stopping, pause)

    async def remove(self, claimed: Claimed) -> None:
        """Give back the slot and the position of a pipeline whose document is gone."""
        problem = await _until_stopped(claimed, self._remove)
        if problem is not None:
            raise problem

    async def _remove(self, claimed: Claimed) -> None:
        name = claimed.run.subject
        pipeline = await self._repository.get_pipeline(name)
        documents = await self._repository.get_documents(name)
        if pipeline is None or documents is None or pipeline.wanted != "removed":
            return
        await release_capture(way_of(documents, pipeline.generation, self._spool, self.role))
        async with self._repository.transaction() as tx:
            # Its document may have come back meanwhile.
            await tx.claim_adoption()
            if (await get_pipeline(tx, name)).wanted == "removed":
                await tx.delete_pipeline(name)
            await claimed.fence(tx)

    async def _work(self, claimed: Claimed) -> None:
        await claimed.report(checkpoint={})
        name = claimed.run.subject
        pipeline = await self._repository.get_pipeline(name)
        documents = await self._repository.get_documents(name)
        if pipeline is None or documents is None or pipeline.wanted != "running":
            raise PipelineGone(f"{name} is not wanted to run")
        if await is_leaving(self._repository, name):
            raise RemovalUnderWay(f"{name} came back while it was being removed")
        way = way_of(documents, pipeline.generation, self._spool, self.role)
        rounds = await self._rounds(name, way)
        standing = Standing(self._repository, claimed, name, pipeline.status, rounds)
        await standing.say("opening")
        check_neighbours(await current_documents(self._repository), name)
        await require_built(way.entities)
        way = replace(way, spec=replace(way.spec, known=pipeline.position, rounds=rounds))
        ledger = ChangeLedger(self._repository, claimed, name, pipeline.generation)
        async with self._opening(way, claimed, ledger) as opened:
            standing.position, standing.ledger = opened.position, ledger
            limit, repeats = self.role.quarantine_limit, way.feeds or way.spec.capture == "poll"
            holder = Holder(claimed, name, pipeline.generation, limit, way.feeds, repeats)
            quarantine = Quarantine(self._repository, holder, opened)
            await quarantine.load(opened.position)
            await Applier(opened, quarantine, standing).run()

    async def _rounds(self, name: str, way: Way) -> Rounds:
        asked, rounded = await self._repository.get_round(name) or (0, 0)
        return Rounds(way.spec.every, asked=asked, done=rounded)

    def _opening(self, way: Way, claimed: Claimed, ledger: ChangeLedger) -> AbstractAsyncContextManager[Opened]:
        name = way.spec.name
        if way.spec.back:
            return open_both_ways(way, Conflicts(self._repository, claimed, name, way.rules), ledger)
        return open_capture(way, PositionStore(self._repository, claimed, name), ledger)

    async def _tell(self, claimed: Claimed, problem: Problem) -> None:
        try:
            await self._write_problem(claimed, problem)
        except Problem as trouble:
            # With the own database away nothing can be told; as long as the lease lasts the pipeline is ours to mend,
            # and giving the run up would make it wait as long as runs that fail again and again do.
            if trouble is problem or trouble.retry is Retry.NEVER:
                raise
            log.warning("pipeline %s: %s cannot be told: %s", claimed.run.subject, problem.code, trouble.code)

    async def _write_problem(self, claimed: Claimed, problem: Problem) -> None:
        name = claimed.run.subject
        pipeline = await get_pipeline(self._repository, name)
        final = problem.retry is Retry.NEVER
        told = {**problem.to_dict(), "since": self._since(pipeline).isoformat(timespec="seconds")}
        async with self._repository.transaction() as tx:
            await Standing(tx, claimed, name, pipeline.status).say("halted" if final else "retrying", told)
            if final:
                halted = PipelineHalted(pipeline=name, revision=pipeline.revision, problem=problem.to_dict())
                await outbox.put(tx, halted)
        if final:
            raise problem

    def _since(self, pipeline: Pipeline) -> datetime:
        """When the first thing went wrong since the last batch that arrived."""
        batches = int((pipeline.status.get("counts") or {}).get("batches") or 0)
        before = self._troubles.get(pipeline.name)
        if before is None or before[0] != batches:
            before = self._troubles[pipeline.name] = (batches, clock.now())
        return before[1]


async def _until_stopped(claimed: Claimed, work: Handling) -> Problem | None:
    """Do the work until it ends or the run is asked to stop; gives the Problem it ended with."""
    working = asyncio.create_task(work(claimed))
    stopping = asyncio.create_task(claimed.stopping.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await _end(working)
    if working.cancelled():
        return None
    error = working.exception()
    if error is None or isinstance(error, Problem):
        return error
    log.error("pipeline %s crashed", claimed.run.subject, exc_info=error)
    return PipelineCrashed(f"{type(error).__name__} was raised where nobody expects it")


async def _end(working: asyncio.Task[None]) -> None:
    """Wait until a task that is cancelled has closed what it holds; who is cancelled meanwhile hurries it on."""
    hurried = False
    while not working.done():
        working.cancel()
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError:
            hurried = True
    if hurried:
        raise asyncio.CancelledError


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
