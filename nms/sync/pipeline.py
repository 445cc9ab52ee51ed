"""The use cases of pipelines: follow the documents, pause, resume, resync, remove."""

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any, Literal

from nms.common import outbox
from nms.common.configuration import Configuration, current_documents
from nms.common.db.repositories import BaseNmsRepository
from nms.common.document import PipelineDocument, SystemDocument, WarehouseSystem
from nms.common.problem import NotFound, Problem
from nms.common.run import Run, RunRepository, RunState, Unique, enqueue, request_cancel
from nms.connectors.warehouse.stand import table_of
from nms.events.sync import PipelinePaused, PipelineResumed, PipelineResynced
from nms.sync.models import Asked, ChangeFilter, Pipeline, Quarantined, Selection, SentChange
from nms.sync.problems import PipelineMoved, SameDatabase, TargetContested
from nms.sync.repository import SyncRepository

log = logging.getLogger(__name__)

KIND = "pipeline"
REMOVAL = "pipeline-removal"
_LIVE = (RunState.QUEUED, RunState.RUNNING, RunState.RETRYING)


async def adopt(repository: BaseNmsRepository) -> list[str]:
    """Let the pipelines follow the current documents; returns the names of those that changed.

    New ones start, changed ones start anew from their position, those whose document is gone give back their slot.
    """
    changed: list[str] = []
    async with SyncRepository(repository.connection).transaction() as tx:
        await tx.claim_adoption()
        configuration = await current_documents(tx)
        known = await tx.list_checksums()
        for name in configuration.pipelines:
            try:
                documents = documents_of(configuration, name)
            except Problem as problem:
                log.warning("pipeline %s cannot follow its documents: %s", name, problem.detail)
                continue
            checksum = hashlib.sha256(json.dumps(documents, sort_keys=True).encode()).hexdigest()
            if known.get(name, ("", ""))[0] == checksum and known[name][1] != "removed":
                continue
            if name in known and known[name][1] == "removed":
                await cancel_runs(tx, name, REMOVAL)
            pipeline = await tx.upsert_pipeline(name, configuration.revision, checksum, documents)
            if pipeline.wanted == "running":
                await restart(tx, name)
            changed.append(name)
        for name, (_, wanted) in known.items():
            gone = name not in configuration.pipelines and (KIND, name) not in configuration.unreadable
            if gone and wanted != "removed":
                await _remove(tx, name)
                changed.append(name)
        await tx.mark_adopted(configuration.revision)
    return changed


async def get_pipeline(repository: SyncRepository, name: str) -> Pipeline:
    """One pipeline; raises NotFound."""
    return _found(await repository.get_pipeline(name), name)


async def is_leaving(repository: SyncRepository, name: str) -> bool:
    """Whether a removal of the pipeline is at work, be it to stop: it may still take the slot away."""
    return any(not run.state.ended for run in await _runs(repository, name, REMOVAL))


@dataclass(frozen=True, slots=True)
class Started:
    """A pipeline and the run that works it or will."""

    pipeline: Pipeline
    run: Run


async def pause(repository: SyncRepository, name: str) -> Pipeline:
    """Hold a pipeline where it stands; its slot stays and the source keeps its log."""
    async with repository.transaction() as tx:
        pipeline = _found(await tx.update_wanted(name, "paused"), name)
        await cancel_runs(tx, name)
        await outbox.put(tx, PipelinePaused(pipeline=name, revision=pipeline.revision))
    return pipeline


async def resume(repository: SyncRepository, name: str) -> Started:
    """Let a paused or halted pipeline, or its paused tables, go on from where they stand."""
    async with repository.transaction() as tx:
        pipeline = _found(await tx.update_wanted(name, "running"), name)
        # A run that has just told that it halts is about to end: the next one stands behind it.
        # One that works with tables left out is opened anew, to see whether they fit again.
        start = restart if pipeline.left_out else _order if pipeline.phase == "halted" else _start
        run = await start(tx, name)
        await outbox.put(tx, PipelineResumed(pipeline=name, revision=pipeline.revision))
    return Started(pipeline, run)


async def resync(repository: SyncRepository, name: str, generation: int | None = None) -> Started:
    """Begin a new generation: a new slot, everything copied anew, rows that the source no longer has removed.

    With the generation that the caller saw it happens once; raises PipelineMoved when another has begun.
    """
    async with repository.transaction() as tx:
        pipeline = _found(await tx.update_generation(name), name)
        if generation is not None and pipeline.generation != generation + 1:
            raise PipelineMoved(f"{name} is in generation {pipeline.generation - 1}.", generation=generation)
        run = await restart(tx, name)
        await outbox.put(tx, PipelineResynced(pipeline=name, revision=pipeline.revision))
    return Started(pipeline, run)


async def list_quarantine(
    repository: SyncRepository, name: str, page: tuple[str | None, int | None, int]
) -> list[Quarantined]:
    """Held changes, newest first; `page` is the state (None: any), the id before which to start, the size."""
    await get_pipeline(repository, name)
    return await repository.list_quarantine(name, *page)


async def list_changes(
    repository: SyncRepository, name: str, wanted: ChangeFilter, page: tuple[int | None, int]
) -> list[SentChange]:
    """What was sent to a REST API, newest first; `page` is the id before which to start and the size."""
    await get_pipeline(repository, name)
    return await repository.list_changes(name, wanted, *page)


async def get_change(repository: SyncRepository, name: str, change: int) -> SentChange:
    """One change that was sent; raises NotFound."""
    await get_pipeline(repository, name)
    found = await repository.get_change(name, change)
    if found is None:
        raise NotFound(f"{name} has no change {change}.", pipeline=name, change=change)
    return found


async def ask_replay(repository: SyncRepository, name: str, selection: Selection) -> Asked:
    """Ask for held changes to be applied again; raises NotFound when nothing is held under the key."""
    return await _ask(repository, name, selection, "replaying")


async def ask_drop(repository: SyncRepository, name: str, selection: Selection) -> Asked:
    """Ask for held changes to be given up; raises NotFound when nothing is held under the key."""
    return await _ask(repository, name, selection, "dropping")


def documents_of(configuration: Configuration, name: str) -> dict[str, Any]:
    """The documents a pipeline is made of, as they are stored; raises their problems."""
    pipeline = configuration.pipeline(name)
    source, target = configuration.system(pipeline.source), configuration.system(pipeline.target)
    found: dict[str, Any] = {"pipeline": pipeline, "source": source, "target": target}
    documents = {part: document.model_dump(mode="json") for part, document in found.items()}
    names = _entities(pipeline, source, target)
    if names:
        documents["entities"] = {each: configuration.entity(each).model_dump(mode="json") for each in names}
    return documents


def _entities(pipeline: PipelineDocument, source: SystemDocument, target: SystemDocument) -> list[str]:
    """The names of the entities that a pipeline reads or writes."""
    sides = [side for side, one in (("source", source), ("target", target)) if isinstance(one, WarehouseSystem)]
    return [getattr(dataset, side) for side in sides for dataset in pipeline.datasets]


def check_neighbours(configuration: Configuration, name: str) -> None:
    """Raise a Problem when a pipeline writes into its own source or into a table that another one feeds.

    Addresses are compared, not names: two systems may be one database.
    """
    mine = configuration.pipeline(name)
    if not configuration.system(mine.target).is_database:
        # Any number of pipelines may send to one exchange or topic.
        return
    place = configuration.system(mine.target).resolve_place()
    if configuration.system(mine.source).resolve_place() == place:
        raise SameDatabase(f"{mine.source} and {mine.target} are one database", source=mine.source, target=mine.target)
    tables = _tables(configuration, mine)
    for other in configuration.pipelines.values():
        shared = mine.shared and other.shared
        if other.name == name or shared or not tables & _tables(configuration, other):
            continue
        if _place(configuration, other) == place:
            raise TargetContested(f"{other.name} writes a table of {name} too", pipelines=[name, other.name])


def _tables(configuration: Configuration, pipeline: PipelineDocument) -> set[str]:
    entities = isinstance(configuration.systems.get(pipeline.target), WarehouseSystem)
    return {table_of(dataset.target) if entities else dataset.target for dataset in pipeline.datasets}


def _place(configuration: Configuration, pipeline: PipelineDocument) -> object:
    try:
        return configuration.system(pipeline.target).resolve_place()
    except Problem:
        # A neighbour whose address cannot be read cannot run either; it must not stop this one.
        return None


async def _ask(
    repository: SyncRepository, name: str, selection: Selection, state: Literal["replaying", "dropping"]
) -> Asked:
    async with repository.transaction() as tx:
        await get_pipeline(tx, name)
        count = await tx.mark_asked(name, selection, state)
        if not count and not selection.all:
            raise NotFound(
                f"Nothing is held of {name} under this key.",
                remedy="`nms quarantine list` shows what is held and under which keys.",
                pipeline=name, key=selection.key, dataset=selection.dataset,
            )  # fmt: skip
    return Asked(count=count, state=state)


async def _start(tx: SyncRepository, name: str) -> Run:
    live = [run for run in await _runs(tx, name) if run.state in _LIVE]
    return live[0] if live else await _order(tx, name)


async def _order(tx: SyncRepository, name: str) -> Run:
    return await enqueue(tx, KIND, name, unique=Unique.ONE_MORE)


async def _runs(tx: SyncRepository, name: str, kind: str = KIND) -> list[Run]:
    return await RunRepository(tx.connection).list(kind=kind, subject=name, size=5)


async def restart(tx: SyncRepository, name: str) -> Run:
    """Have whoever works a pipeline open it anew; gives the run that will."""
    await cancel_runs(tx, name)
    return await _start(tx, name)


async def cancel_runs(tx: SyncRepository, name: str, kind: str = KIND) -> None:
    """Ask the live runs of a pipeline to stop."""
    for run in await _runs(tx, name, kind):
        if run.state in _LIVE:
            await request_cancel(tx, run.id)


async def _remove(tx: SyncRepository, name: str) -> None:
    await tx.mark_removed(name)
    await cancel_runs(tx, name)
    # One that was cancelled may still be ending.
    await enqueue(tx, REMOVAL, name, unique=Unique.ONE_MORE)


def _found(pipeline: Pipeline | None, name: str) -> Pipeline:
    if pipeline is None:
        raise NotFound(f"There is no pipeline {name}.", pipeline=name)
    return pipeline
