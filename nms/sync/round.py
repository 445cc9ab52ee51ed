"""Rounds that somebody asks for: a run of its own tells how far the round is, and ends when all of it is durable."""

from typing import Any

from nms.common.lease import Claimed, Progress, Stop
from nms.common.problem import NotFound
from nms.common.run import Run, Unique, enqueue
from nms.common.waiting import first_of
from nms.sync.models import Pipeline
from nms.sync.pipeline import get_pipeline, restart
from nms.sync.problems import NoRounds, PipelineGone, PipelineIsHalted, PipelineIsPaused
from nms.sync.repository import SyncRepository

KIND = "round"
CAPTURES = ("poll", "compare", "pull")
LOOK_SECONDS = 0.2


async def ask_round(repository: SyncRepository, name: str) -> Run:
    """Ask a pipeline for a round that begins after now; gives the run that ends when it is durable at the target.

    Raises NotFound, NoRounds, PipelineIsPaused and PipelineIsHalted.
    """
    async with repository.transaction() as tx:
        await tx.claim_round(name)
        await check_round(tx, name)
        # A waiting run reads the newest number when it begins: it may stand for any number of asks.
        return await enqueue(tx, KIND, name, unique=Unique.ONE_MORE)


async def check_round(repository: SyncRepository, name: str) -> None:
    """Raise what `ask_round` would raise now."""
    capture = await repository.get_capture(name)
    if capture is None:
        raise NotFound(f"There is no pipeline {name}.", pipeline=name)
    if capture not in CAPTURES:
        raise NoRounds(f"{name} moves each change as it happens (capture: {capture}).", pipeline=name)
    _refuse(await get_pipeline(repository, name))


class Follower:
    """Follows the rounds that were asked for to their ends, whoever works the pipelines."""

    def __init__(self, repository: SyncRepository) -> None:
        self._repository = repository

    async def follow(self, claimed: Claimed) -> None:
        """Wait until the round has been served; raises the Problem that keeps its pipeline from it.

        A cancel breaks the round off where rounds begin only on demand; what arrived stays.
        """
        name, begun = claimed.run.subject, claimed.checkpoint
        if begun is None or "number" not in begun:
            begun = await self._begin(name, withdrawn=begun is not None)
            await claimed.report(checkpoint=begun)
        number = int(begun["number"])
        while not claimed.stopping.is_set():
            # In this order: the count of what was applied is as new as what was served, or newer.
            served = await self._repository.get_round(name)
            pipeline = await get_pipeline(self._repository, name)
            ended = served is not None and served[1] >= number
            await claimed.report(_progress(pipeline, begun, ended=ended))
            if served is None:
                raise PipelineGone(f"{name} is being removed", pipeline=name)
            if ended:
                return
            _refuse(pipeline)
            await first_of(claimed.stopping, timeout=LOOK_SECONDS)
        if claimed.reason is Stop.CANCELLED:
            await self._withdraw(name, number)
            await claimed.report(checkpoint={})

    async def _begin(self, name: str, *, withdrawn: bool) -> dict[str, Any]:
        async with self._repository.transaction() as tx:
            if withdrawn:
                # It was cancelled and is retried.
                await tx.claim_round(name)
            # Behind whoever is asking just now: an ask that was given this run is served by it.
            asked = await tx.get_asked(name)
            if asked is None:
                raise PipelineGone(f"{name} is being removed", pipeline=name)
            return {"number": asked, "applied": _applied(await get_pipeline(tx, name))}

    async def _withdraw(self, name: str, number: int) -> None:
        async with self._repository.transaction() as tx:
            waits_for_asks = await tx.mark_withdrawn(name, number)
            if waits_for_asks:
                await restart(tx, name)


def _refuse(pipeline: Pipeline) -> None:
    name = pipeline.name
    if pipeline.wanted == "removed":
        raise PipelineGone(f"{name} is being removed", pipeline=name)
    if pipeline.wanted == "paused":
        raise PipelineIsPaused(f"{name} is paused, so that no round begins.", pipeline=name)
    if pipeline.phase == "halted" and pipeline.problem is not None:
        cause = pipeline.problem
        why = f"{name} has halted: {cause.get('detail') or cause.get('title')}"
        raise PipelineIsHalted(why, remedy=str(cause.get("remedy") or "") or None, pipeline=name, cause=cause)


def _applied(pipeline: Pipeline) -> int:
    counts = pipeline.status.get("counts") or {}
    return int(counts.get("changes") or 0) + int(counts.get("copied") or 0)


def _progress(pipeline: Pipeline, begun: dict[str, Any], *, ended: bool) -> Progress:
    """What has been applied since the round was asked for; of how much, where the source tells."""
    done = max(0, _applied(pipeline) - int(begun["applied"]))
    if ended:
        return Progress(done, done, "records", pipeline.phase)
    expected = (pipeline.status.get("round") or {}).get("of")
    return Progress(done, None if expected is None else max(done, int(expected)), "records", pipeline.phase)
