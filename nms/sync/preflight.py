"""Preflight of pipelines: what stands in the way of each, and what a copy of it costs."""

from dataclasses import dataclass, replace
from typing import Any

from nms.common.configuration import Configuration, current_documents
from nms.common.document import WarehouseSystem
from nms.common.finding import Finding
from nms.common.problem import Problem
from nms.common.settings import Settings, read_settings
from nms.connectors.postgres import preflight
from nms.connectors.postgres.preflight import TableSize
from nms.connectors.postgres.problems import NotPrepared
from nms.connectors.postgres.twoway.prepare import check_twoway, prepare_twoway
from nms.connectors.warehouse.connector import check_entities, suit_entities
from nms.connectors.warehouse.stand import table_of
from nms.sync.capture import Way, check_channels
from nms.sync.mapping import way_of
from nms.sync.pipeline import check_neighbours, documents_of, resume
from nms.sync.repository import SyncRepository
from nms.sync.settings import SyncSettings

_NEIGHBOUR_POINTERS = {"same-database": "/target", "target-contested": "/datasets"}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found of one pipeline, what `prepare` made or `unprepare` removed, and whether it goes on."""

    pipeline: str
    findings: list[Finding]
    prepared: tuple[str, ...] = ()
    resumed: bool = False
    removed: tuple[str, ...] = ()

    @property
    def fatal(self) -> bool:
        """Whether the pipeline cannot start, or cannot go on."""
        return any(finding.fatal for finding in self.findings)


async def list_names(repository: SyncRepository) -> list[str]:
    """The names of all declared pipelines, those that cannot be read too."""
    configuration = await current_documents(repository)
    unreadable = [name for kind, name in configuration.unreadable if kind == "pipeline"]
    return sorted([*configuration.pipelines, *unreadable])


async def diagnose(repository: SyncRepository, name: str, settings: Settings, *, prepare: bool = False) -> Diagnosis:
    """Check a declared pipeline; with `prepare` first make at the target what its login may. Raises NotFound.

    With `prepare` a pipeline that halted as not prepared goes on once nothing stands in its way.
    Everything that is wrong comes as a finding, a system that does not answer and a secret that is missing too.
    """
    configuration = await current_documents(repository)
    if name not in configuration.pipelines and ("pipeline", name) not in configuration.unreadable:
        configuration.pipeline(name)
    findings = _judge_neighbours(configuration, name)
    made: list[str] = []
    try:
        way = await _way_of(repository, configuration, name, settings)
        if prepare:
            made = await preflight.prepare(way.spec, target=not way.publishes)
            made += await prepare_twoway(way.spec) if way.spec.back else []
        findings += await _check(repository, way)
    except Problem as problem:
        return Diagnosis(name, _without_twins([*findings, _finding(problem)]))
    diagnosis = Diagnosis(name, _without_twins(findings), tuple(made))
    if prepare and not diagnosis.fatal:
        return replace(diagnosis, resumed=await _resume_unprepared(repository, name))
    return diagnosis


async def unprepare(repository: SyncRepository, name: str, settings: Settings) -> Diagnosis:
    """Remove at the source what notes changes for a declared pipeline; raises NotFound and what the source refuses."""
    configuration = await current_documents(repository)
    configuration.pipeline(name)
    way = await _way_of(repository, configuration, name, settings)
    return Diagnosis(name, [], removed=() if way.feeds else tuple(await preflight.unprepare(way.spec)))


async def _resume_unprepared(repository: SyncRepository, name: str) -> bool:
    """Let a pipeline go on that halted only because something was not prepared."""
    pipeline = await repository.get_pipeline(name)
    if pipeline is None or pipeline.wanted != "running" or pipeline.phase != "halted":
        return False
    if (pipeline.problem or {}).get("code") != NotPrepared.code:
        return False
    await resume(repository, name)
    return True


async def estimate(repository: SyncRepository, name: str, settings: Settings) -> list[TableSize]:
    """About what copying a pipeline costs; raises the Problem of a source that does not answer."""
    configuration = await current_documents(repository)
    way = await _way_of(repository, configuration, name, settings)
    return [] if way.feeds else await preflight.measure_copy(way.spec)


async def _check(repository: SyncRepository, way: Way) -> list[Finding]:
    unbuilt = await _check_entities(way)
    # Of a table that is not there yet as it will be nothing else is worth telling.
    return unbuilt or suit_entities(await _check_databases(repository, way), way.target)


async def _check_entities(way: Way) -> list[Finding]:
    system, side = (way.target, "target") if isinstance(way.target, WarehouseSystem) else (way.source, "source")
    places = {getattr(one, side): f"/datasets/{at}/{side}" for at, one in enumerate(way.spec.datasets)}
    pointers = {name: places.get(table_of(name), "") for name in way.entities}
    return await check_entities(system.name, way.entities, pointers)


async def _check_databases(repository: SyncRepository, way: Way) -> list[Finding]:
    if way.feeds and way.publishes:
        return await check_channels(way)
    if way.feeds:
        back = await check_twoway(way.spec) if way.spec.back else []
        return [*await preflight.check_feeding(way.spec), *back, *await check_channels(way)]
    if way.publishes:
        position = await repository.get_position(way.spec.name)
        return [*await preflight.check_publishing(way.spec, position), *await check_channels(way)]
    return await preflight.check(way.spec)


async def _way_of(repository: SyncRepository, configuration: Configuration, name: str, settings: Settings) -> Way:
    pipeline = await repository.get_pipeline(name)
    documents: dict[str, Any] = documents_of(configuration, name)
    generation = 1 if pipeline is None else pipeline.generation
    return way_of(documents, generation, settings.data_dir / "spool", read_settings(SyncSettings))


def _judge_neighbours(configuration: Configuration, name: str) -> list[Finding]:
    try:
        check_neighbours(configuration, name)
    except Problem as problem:
        return [_finding(problem)]
    return []


def _finding(problem: Problem) -> Finding:
    pointer = problem.pointers[0].pointer if problem.pointers else _NEIGHBOUR_POINTERS.get(problem.code, "")
    system = str(problem.facts.get("system") or "")
    return Finding(problem.code, problem.detail, system, pointer=pointer, remedy=problem.remedy, run_as="")


def _without_twins(findings: list[Finding]) -> list[Finding]:
    """A fault that documents and servers both show is told once."""
    told: set[tuple[str, str, str]] = set()
    kept = []
    for finding in findings:
        identity = (finding.code, finding.pointer, "" if finding.code == "same-database" else finding.sentence)
        if identity not in told:
            told.add(identity)
            kept.append(finding)
    return kept
