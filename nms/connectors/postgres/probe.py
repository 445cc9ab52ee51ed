"""What one database says by itself, for one pipeline that uses it or for none; nothing is changed."""

from dataclasses import replace
from pathlib import Path

import asyncpg

from nms.common.document import PipelineDocument, PostgresSystem
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec
from nms.common.problem import Problem
from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import Connection
from nms.connectors.postgres.config import PipelineSpec, RuleSpec
from nms.connectors.postgres.facts import Facts, read_source_facts, read_target_facts
from nms.connectors.postgres.findings import (
    judge_servers,
    judge_source,
    judge_source_tables,
    judge_target,
    judge_target_tables,
)
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.pairing import pair
from nms.connectors.postgres.problems import translate


async def probe_database(system: PostgresSystem, pipeline: PipelineDocument | None) -> list[Finding]:
    """Whether it answers and lets us in, and has what this pipeline needs of it; never raises a Problem.

    What shows only beside the other end (columns and types that fit) is left to `nms doctor`.
    """
    reads = pipeline is not None and pipeline.source == system.name
    pointer = "" if pipeline is None else "/source" if reads else "/target"
    try:
        address = system.address()
        password = None if address.password is None else address.password.get_secret_value()
        access = Access(system.name, str(address), password)
        connection = await catalog.connect(access, name=f"nms-probe:{system.name}")
    except Problem as problem:
        return [_told(problem, system, pointer)]
    try:
        facts, findings = await _look(connection, _spec_of(access, pipeline), reads=reads)
        unfit = [one for one in judge_servers(facts) if one.pointer == (pointer or "/target")]
        if pipeline is None:
            # Whether a standby will do, and where it stands in a document, is for pipelines to say.
            return [replace(one, pointer="") for one in unfit if one.code != "server-is-standby"]
        return unfit or findings
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return [_told(translate(error, at=system.name), system, pointer)]
    finally:
        connection.terminate()


async def _look(connection: Connection, spec: PipelineSpec, *, reads: bool) -> tuple[Facts, list[Finding]]:
    names = (spec.source.system, spec.target.system)
    if not spec.datasets:
        return await read_target_facts(connection, spec), []
    if reads:
        facts = await read_source_facts(connection, spec, None)
        absent = pair(spec.datasets, facts.source.tables, {}, names).findings
        found = [*judge_source(facts), *judge_source_tables(facts)]
    else:
        facts = await read_target_facts(connection, spec)
        absent = pair(spec.datasets, {}, facts.target.tables, names).findings
        found = [*judge_target(facts), *judge_target_tables(facts)]
    side = facts.source if reads else facts.target
    # A view is told as such, not as a missing table too.
    known = {at for at, one in enumerate(spec.datasets) if (one.source if reads else one.target) in side.kinds}
    told = {f"/datasets/{at}/{'source' if reads else 'target'}" for at in range(len(spec.datasets)) if at not in known}
    return facts, [*found, *(one for one in absent if one.pointer in told)]


def _spec_of(access: Access, pipeline: PipelineDocument | None) -> PipelineSpec:
    """As much of a pipeline as one database is judged by."""
    if pipeline is None:
        return _spec(Access(access.system, ""), access, ())
    datasets = tuple(DatasetSpec(one.source, one.target, key=one.key) for one in pipeline.datasets)
    reads = pipeline.source == access.system
    source = access if reads else Access(pipeline.source, "")
    target = Access(pipeline.target, "") if reads else access
    return _spec(source, target, datasets, pipeline)


def _spec(
    source: Access, target: Access, datasets: tuple[DatasetSpec, ...], pipeline: PipelineDocument | None = None
) -> PipelineSpec:
    ruled = [] if pipeline is None else [one.source for one in pipeline.datasets if one.compare]
    return PipelineSpec(
        name="" if pipeline is None else pipeline.name,
        slot="" if pipeline is None else pipeline.slot,
        source=source,
        target=target,
        datasets=datasets,
        generation=1,
        copy=pipeline is None or pipeline.initial == "copy",
        heals=pipeline is None or pipeline.missing == "upsert",
        batch_changes=1,
        wal_budget=0 if pipeline is None else pipeline.wal_budget,
        spool=Path(),
        spool_budget=0,
        capture="log" if pipeline is None else pipeline.capture,
        rules=dict.fromkeys(ruled, RuleSpec((), ())),
    )


def _told(problem: Problem, system: PostgresSystem, pointer: str) -> Finding:
    return Finding(problem.code, problem.detail, system.name, pointer=pointer, remedy=problem.remedy, run_as="")
