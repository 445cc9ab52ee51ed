"""The guard of the sources' disks: log that slots retain is measured, told, and by policy given up (DESIGN 4.8).

It looks at every pipeline that has a slot, also at paused and halted ones and those whose target is away: nobody else
would notice them while the source's disk fills.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nms.common import outbox
from nms.common.document import PipelineDocument, SystemDocument, parse_document
from nms.common.problem import Problem
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.retention import measure_slots, release_slot
from nms.events.sync import PipelineAlarmed, PipelineReleased
from nms.sync.mapping import access_of
from nms.sync.pipeline import cancel_runs
from nms.sync.problems import SlotReleased, WalOverBudget
from nms.sync.repository import SyncRepository

log = logging.getLogger(__name__)

GUARD_SECONDS = 5.0
LOOK_SECONDS = 10.0
RELEASE_SECONDS = 20.0
ALARM_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Guarded:
    """A pipeline with a slot: where that is, what it may retain, whether it is given up then, the alarm so far."""

    name: str
    generation: int
    document: PipelineDocument
    access: Access
    alarmed: bool


async def guard(repository: SyncRepository, stop: asyncio.Event) -> None:
    """Look every few seconds until told to stop; of any number of processes one looks at a time."""
    while not stop.is_set():
        try:
            async with repository.transaction() as tx:
                if await tx.claim_guard():
                    await _look(repository)
        except Problem as problem:
            log.warning("the retained log could not be looked at: %s", problem.detail)
        except Exception:
            # Nobody would notice a guard that a bug has ended, until a disk is full.
            log.exception("the guard of the retained log failed")
        try:
            await asyncio.wait_for(stop.wait(), GUARD_SECONDS)
        except TimeoutError:
            continue


async def _look(repository: SyncRepository) -> None:
    sources: dict[str, list[Guarded]] = {}
    for one in await _list_guarded(repository):
        sources.setdefault(one.access.dsn, []).append(one)
    await asyncio.gather(*(_look_at(repository, found) for found in sources.values()))


async def _list_guarded(repository: SyncRepository) -> list[Guarded]:
    found: list[Guarded] = []
    for name, generation, documents, alarm in await repository.list_guarded():
        try:
            pipeline = parse_document(documents["pipeline"])
            both = isinstance(pipeline, PipelineDocument) and pipeline.direction == "two-way"
            source = parse_document(documents["target" if both else "source"])
            if isinstance(pipeline, PipelineDocument) and isinstance(source, SystemDocument) and source.is_database:
                found.append(Guarded(name, generation, pipeline, access_of(source), alarm is not None))
        except Problem as problem:
            log.warning("pipeline %s cannot be guarded: %s", name, problem.detail)
    return found


async def _look_at(repository: SyncRepository, pipelines: Sequence[Guarded]) -> None:
    access = pipelines[0].access
    with _told(f"the slots of {access.system} cannot be measured"):
        async with asyncio.timeout(LOOK_SECONDS):
            slots = await measure_slots(access, [one.document.slot for one in pipelines])
        retained = {one.slot: one.bytes for one in slots}
        for one in pipelines:
            with _told(f"the slot of {one.name} cannot be guarded"):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await _judge(repository, one, retained.get(one.document.slot, 0))


@contextmanager
def _told(what: str) -> Iterator[None]:
    """One source or slot that fails is told and must not keep the others from being judged."""
    try:
        yield
    except TimeoutError:
        log.warning("%s: no answer in time", what)
    except Problem as problem:
        log.warning("%s: %s", what, problem.detail)
    except Exception:
        log.exception("%s", what)


async def _judge(repository: SyncRepository, one: Guarded, retained: int) -> None:
    budget = one.document.wal_budget
    if retained > budget and one.document.wal_policy == "release":
        await _release(repository, one)
    elif retained > budget * ALARM_SHARE:
        problem = WalOverBudget(
            f"{one.access.system} retains {retained >> 20:,} MB of log for {one.name}, of {budget >> 20:,} MB",
            retained=retained, budget=budget,
        )  # fmt: skip
        async with repository.transaction() as tx:
            await tx.update_alarm(one.name, problem.to_dict())
            if not one.alarmed:
                await outbox.put(tx, PipelineAlarmed(pipeline=one.name, problem=problem.to_dict()))
    elif one.alarmed:
        await repository.update_alarm(one.name, None)


async def _release(repository: SyncRepository, one: Guarded) -> None:
    async with repository.transaction() as tx:
        told = await tx.claim_guarded(one.name, one.generation)
        # Held in its generation by now: what was measured before may have been the slot of an earlier one.
        slots = [] if told is None else await measure_slots(one.access, [one.document.slot])
        retained = sum(slot.bytes for slot in slots)
        if told is None or retained <= one.document.wal_budget:
            return
        if not told:
            await _tell(tx, one, retained)
    # Told first: a slot that is gone without a word is the worse of the two halves of this.
    async with repository.transaction() as tx:
        if await tx.claim_guarded(one.name, one.generation) is not None:
            await release_slot(one.access, one.document.slot)


async def _tell(tx: SyncRepository, one: Guarded, retained: int) -> None:
    problem = SlotReleased(
        f"{one.access.system} retained {retained >> 20:,} MB of log for {one.name}, more than its wal_budget of"
        f" {one.document.wal_budget >> 20:,} MB; the slot was given up",
        retained=retained, budget=one.document.wal_budget,
    )  # fmt: skip
    await tx.mark_released(one.name, problem.to_dict())
    await cancel_runs(tx, one.name)
    await outbox.put(tx, PipelineReleased(pipeline=one.name, problem=problem.to_dict()))
    log.warning("pipeline %s: %s", one.name, problem.detail)
