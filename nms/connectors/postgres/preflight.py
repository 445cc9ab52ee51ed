"""Preflight: what stands in the way of a pipeline, found before anything starts (DESIGN 4.8)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace

import asyncpg

from nms.common.finding import Finding
from nms.common.flow import Position
from nms.common.problem import Pointer, Problem
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.compare.check import judge_rules, suit_comparison
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.facts import (
    Facts,
    keyed,
    read_facts,
    read_preparation,
    read_source_facts,
    read_target_facts,
)
from nms.connectors.postgres.findings import (
    PREPARE,
    judge_servers,
    judge_source,
    judge_source_tables,
    judge_tables,
    judge_target,
    judge_target_tables,
)
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.onesided import mirror, receive
from nms.connectors.postgres.pairing import Pairing, pair
from nms.connectors.postgres.poll.check import judge_poll, suit_poll
from nms.connectors.postgres.poll.prepare import forget, prepare_source
from nms.connectors.postgres.problems import NotPrepared, ServerAway, translate
from nms.connectors.postgres.selection import judge_filters, settle
from nms.connectors.postgres.statements import count_rows

CONNECT_SECONDS = 5.0
COUNTED_BYTES = 64 << 20


@dataclass(slots=True)
class Checked:
    """The tables of both sides, paired, and everything that was found."""

    pairing: Pairing
    findings: list[Finding]
    facts: Facts | None = None

    def refuse(self, pipeline: str, *, tables: bool = True) -> None:
        """Raise NotPrepared with all findings when one of them is fatal; without `tables` not for one table's."""
        # That a filter is another one is not drift: the document asks for it, and every row may be in doubt.
        fatal = [
            one for one in self.findings
            if one.fatal and (tables or not one.pointer.startswith("/datasets/") or one.code == "filter-changed")
        ]  # fmt: skip
        if not fatal:
            return
        more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
        raise NotPrepared(
            fatal[0].sentence + more,
            remedy=f"`nms doctor {pipeline}` prints what mends each finding; then `nms resume {pipeline}`.",
            pointers=[Pointer(finding.pointer, finding.sentence) for finding in fatal],
            findings=[asdict(finding) for finding in fatal],
        )


@dataclass(frozen=True, slots=True)
class TableSize:
    """What copying a dataset costs: about how many rows and bytes it has at the source."""

    dataset: str
    rows: int
    bytes: int


async def check_open(source: Connection, target: Connection, spec: PipelineSpec) -> Checked:
    """Everything that can be known before a pipeline is opened; changes nothing and ends no session."""
    facts = await read_facts(source, target, spec)
    findings = list(judge_servers(facts))
    if findings:
        return Checked(Pairing(), findings)
    datasets = spec.datasets if spec.capture == "log" else keyed(spec.datasets, facts.source.tables)
    pairing = pair(datasets, facts.source.tables, facts.target.tables, (spec.source.system, spec.target.system))
    # A view is told as such, not as a missing table too.
    told = {(name, "table-missing") for side in (facts.source, facts.target) for name in side.kinds}
    paired = [
        # A column that the source got meanwhile must not end what works.
        replace(one, fatal=False) if one.code == "column-left-out" and facts.position is not None else one
        for one in pairing.findings if (_name_of(one, spec), one.code) not in told
    ]  # fmt: skip
    paired += await settle(source, target, pairing, spec)
    known = [one for one in pairing.pairs if one.spec.source in facts.layouts or not facts.layouts]
    paired += judge_filters(facts.position if facts.begun else None, Pairing(known))
    findings += [*judge_source(facts), *judge_target(facts), *judge_tables(facts), *paired]
    if spec.capture == "compare":
        findings = [*suit_comparison(findings, facts), *await judge_rules(source, target, pairing, spec)]
    if spec.capture == "poll":
        findings = [*suit_poll(findings, spec), *await judge_poll(source, pairing, spec, facts.source.server.login)]
    return Checked(pairing, findings, facts)


async def check_outlet(source: Connection, spec: PipelineSpec, position: Position | None) -> Checked:
    """Everything that can be known of the source of a pipeline whose target is of another kind."""
    facts = await read_source_facts(source, spec, position)
    findings = [one for one in judge_servers(facts) if one.pointer == "/source"]
    if findings:
        return Checked(Pairing(), findings)
    polls = spec.capture == "poll"
    datasets = keyed(spec.datasets, facts.source.tables) if polls else spec.datasets
    pairing = mirror(datasets, facts.source.tables, spec.source.system)
    told = {(name, "table-missing") for name in facts.source.kinds}
    paired = [one for one in pairing.findings if (_name_of(one, spec), one.code) not in told]
    paired += await settle(source, None, pairing, spec)
    paired += judge_filters(facts.position if facts.begun else None, pairing)
    found = [*judge_source(facts), *judge_source_tables(facts), *paired]
    if polls:
        found = [*suit_poll(found, spec), *await judge_poll(source, pairing, spec, facts.source.server.login)]
    return Checked(pairing, found)


async def check_inlet(target: Connection, spec: PipelineSpec) -> Checked:
    """Everything that can be known of the target of a pipeline whose source is of another kind."""
    facts = await read_target_facts(target, spec)
    findings = [one for one in judge_servers(facts) if one.pointer == "/target"]
    if findings:
        return Checked(Pairing(), findings)
    pairing = receive(spec.datasets, facts.target.tables, (spec.source.system, spec.target.system), heals=spec.heals)
    told = {(name, "table-missing") for name in facts.target.kinds}
    paired = [one for one in pairing.findings if (_name_of(one, spec), one.code) not in told]
    paired += await settle(None, target, pairing, spec)
    names = {one.target.oid: one.spec.source for one in pairing.pairs}
    for bond in facts.bonds:
        if bond.child in names and bond.parent in names and bond.child != bond.parent:
            pairing.above.setdefault(names[bond.child], set()).add(names[bond.parent])
    return Checked(pairing, [*judge_target(facts), *judge_target_tables(facts), *paired])


async def check(spec: PipelineSpec) -> list[Finding]:
    """All findings of a pipeline, those of its running (slot lost, source changed) too; never raises a Problem."""
    connections, findings = await _connect(spec)
    try:
        if not findings:
            source, target = connections
            checked = await check_open(source, target, spec)
            findings = checked.findings + _paused(checked)
            if not any(finding.fatal for finding in findings):
                findings += await _check_begun(source, target, spec)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        findings.append(_finding(translate(error, at=f"{spec.source.system} or {spec.target.system}"), spec.name))
    finally:
        for connection in connections:
            connection.terminate()
    return findings


async def check_feeding(spec: PipelineSpec) -> list[Finding]:
    """All findings of a target whose source is of another kind; never raises a Problem."""
    return await _check_one((spec.target, "/target"), spec, lambda target: check_inlet(target, spec))


async def check_publishing(spec: PipelineSpec, position: Position | None) -> list[Finding]:
    """All findings of a source whose target is of another kind; never raises a Problem."""
    return await _check_one((spec.source, "/source"), spec, lambda source: check_outlet(source, spec, position))


async def _check_one(
    side: tuple[Access, str], spec: PipelineSpec, check_side: Callable[[Connection], Awaitable[Checked]]
) -> list[Finding]:
    access, pointer = side
    connection = await _try_connect(access, spec.name, pointer)
    if isinstance(connection, Finding):
        return [connection]
    try:
        return (await check_side(connection)).findings
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return [_finding(translate(error, at=access.system), access.system, pointer)]
    finally:
        connection.terminate()


async def prepare(spec: PipelineSpec, *, target: bool = True) -> list[str]:
    """Make the schema `nms` at a target that is a database, and the change log that a poll asks for, where logins may.

    Says what was made.
    """
    return [*(await _prepare_target(spec) if target else ()), *await prepare_source(spec)]


async def unprepare(spec: PipelineSpec) -> list[str]:
    """Remove what notes changes for a pipeline at its source; says what was removed."""
    return await forget(spec)


async def _prepare_target(spec: PipelineSpec) -> list[str]:
    target = await catalog.connect(spec.target, name=f"nms-prepare:{spec.name}")
    try:
        there, server = await read_preparation(target), await queries.get_server(target)
        if there.complete or server["standby"] or not (server["can_create"] or there.schema_there):
            return []
        async with target.transaction():
            await target.execute(PREPARE)
        return [f"schema nms of {spec.target.system}"]
    except asyncpg.InsufficientPrivilegeError:
        # The check that follows prints the SQL for whoever may.
        return []
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.target.system) from error
    finally:
        target.terminate()


async def measure_copy(spec: PipelineSpec) -> list[TableSize]:
    """About what a copy of everything costs; small tables that were never analyzed are counted."""
    source = await catalog.connect(spec.source, name=f"nms-measure:{spec.name}")
    try:
        tables = await catalog.read_tables(source, [one.source for one in spec.datasets])
        sizes = {}
        for row in await queries.list_sizes(source, oids=[table.oid for table in tables.values()]):
            sizes[row["oid"]] = row
        found = []
        for name, table in tables.items():
            size = sizes[table.oid]
            rows = size["rows"]
            if not size["counted"] or (not rows and size["bytes"] < COUNTED_BYTES):
                rows = await source.fetchval(count_rows(table.quoted))
            found.append(TableSize(name, rows, size["bytes"]))
        return found
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.source.system) from error
    finally:
        source.terminate()


async def _connect(spec: PipelineSpec) -> tuple[list[Connection], list[Finding]]:
    sides = ((spec.source, "/source"), (spec.target, "/target"))
    tried = await asyncio.gather(*(_try_connect(access, spec.name, pointer) for access, pointer in sides))
    connections = [one for one in tried if not isinstance(one, Finding)]
    return connections, [one for one in tried if isinstance(one, Finding)]


async def _try_connect(access: Access, pipeline: str, pointer: str) -> "Connection | Finding":
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await catalog.connect(access, name=f"nms-doctor:{pipeline}")
    except TimeoutError:
        return _finding(
            ServerAway(f"{access.system}: no answer within {CONNECT_SECONDS:.0f} s"), access.system, pointer
        )
    except Problem as problem:
        return _finding(problem, access.system, pointer)


async def _check_begun(source: Connection, target: Connection, spec: PipelineSpec) -> list[Finding]:
    """What the engine would halt on when it goes on from its position."""
    facts = await read_facts(source, target, spec)
    if not facts.begun or facts.position is None or "lsn" not in facts.position or spec.capture != "log":
        return []
    findings = []
    for verify in (_verify_slot, _verify_publications):
        try:
            await verify(source, facts)
        except Problem as problem:
            findings.append(_finding(problem, spec.source.system, "/source"))
    return findings


def _paused(checked: Checked) -> list[Finding]:
    facts = checked.facts
    if facts is None:
        return []
    pointers = {one.source: f"/datasets/{at}" for at, one in enumerate(facts.spec.datasets)}
    remedy = f"Run what is printed, if anything is, then `nms resume {facts.spec.name}`."
    return [
        Finding(
            "table-paused", f"{name} is left out: {pause['detail']}", facts.target.system, False, pause["sql"],
            pointers.get(name, ""), remedy=remedy,
        )
        for name, pause in facts.paused.items()
    ]  # fmt: skip


async def _verify_slot(source: Connection, facts: Facts) -> None:
    assert facts.position is not None
    await slot.check_slot(source, facts.spec.slot, facts.position["lsn"], facts.source_system or "")


async def _verify_publications(source: Connection, facts: Facts) -> None:
    # Those that are new in the document are published when the pipeline opens next.
    known = [table for name, table in facts.source.tables.items() if name in facts.layouts and name not in facts.paused]
    await slot.check_publications(source, facts.spec.slot, known)


def _finding(problem: Problem, system: str, pointer: str = "") -> Finding:
    return Finding(problem.code, problem.detail, system, pointer=pointer, remedy=problem.remedy, run_as="")


def _name_of(finding: Finding, spec: PipelineSpec) -> str:
    _, _, rest = finding.pointer.partition("/datasets/")
    number, _, side = rest.partition("/")
    return getattr(spec.datasets[int(number)], side) if side in ("source", "target") else ""
