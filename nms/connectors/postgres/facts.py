"""What preflight asks of the two servers of a pipeline, read once and judged elsewhere."""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nms.common.flow import DatasetSpec, Position
from nms.connectors.postgres.catalog import Connection, Table, queries, read_tables
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.slot import publication_names
from nms.connectors.postgres.statements import select_any


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself and of our login."""

    version: int
    wal_level: str
    max_slots: int
    max_senders: int
    slots: int
    standby: bool
    database: str
    login: str
    encoding: str
    can_create: bool
    can_replicate: bool
    superuser: bool
    system_identifier: str
    slot_keep: int | None = None
    slot_idle: int | None = None
    senders: int = 0
    read_only: bool = False
    can_stage: bool = True


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What may stand in the way of reading or writing one table, beside its columns."""

    oid: int
    unlogged: bool = False
    row_security: bool = False
    schema_usable: bool = True
    can_truncate: bool = True
    owner: str = ""
    triggers: tuple[str, ...] = ()
    outer_references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bond:
    """A foreign key between two tables of the pipeline; `deferred`: checked at the commit."""

    child: int
    parent: int
    name: str
    deferred: bool


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is there of the schema `nms` of a target, and may be used."""

    schema_there: bool
    schema_usable: bool
    table_there: bool
    table_usable: bool
    function_there: bool
    function_usable: bool

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return self.schema_there and self.table_there and self.function_there

    @property
    def usable(self) -> bool:
        """Whether everything is there and may be used."""
        return self.complete and self.schema_usable and self.table_usable and self.function_usable


@dataclass(slots=True)
class Side:
    """One end of a pipeline."""

    system: str
    server: Server
    tables: dict[str, Table] = field(default_factory=dict)
    obstacles: dict[int, Obstacles] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Facts:
    """Both ends, what the source already has for the pipeline, and what the target already has."""

    spec: PipelineSpec
    source: Side
    target: Side
    same_database: bool
    slot: dict[str, Any] | None = None
    publications: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    bonds: list[Bond] = field(default_factory=list)
    preparation: Preparation | None = None
    position: dict[str, Any] | None = None
    source_system: str | None = None
    layouts: dict[str, Any] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)

    @property
    def paused(self) -> dict[str, dict[str, str]]:
        """Tables that are left out: code, detail, and the statements that make them fit."""
        return {} if self.position is None else dict(self.position.get("paused", {}))

    @property
    def begun(self) -> bool:
        """Whether the pipeline has begun in this generation: its slot and publications were made."""
        return self.position is not None and self.position.get("generation", 0) >= self.spec.generation


async def read_server(connection: Connection) -> Server:
    """What a server says of itself."""
    row = dict(await queries.get_server(connection))
    # Older ones lack views that the rest asks; they are refused anyway.
    limits = dict(await queries.get_limits(connection)) if row["version"] >= 140000 else {}
    return Server(**row, **limits)


async def read_facts(source: Connection, target: Connection, spec: PipelineSpec) -> Facts:
    """Everything that preflight judges; the servers must be of a version that NMS knows."""
    left = Side(spec.source.system, await read_server(source))
    right = Side(spec.target.system, await read_server(target))
    facts = Facts(spec, left, right, await is_same_database(source, target, left.server, right.server))
    standby = (left.server.standby and not spec.only_reads) or right.server.standby
    if min(left.server.version, right.server.version) < 140000 or standby:
        return facts
    await _read_side(left, source, [one.source for one in spec.datasets])
    for one in spec.datasets:
        if one.key and one.source in left.tables:
            left.tables[one.source].declared = one.key
    await _read_side(right, target, [one.target for one in spec.datasets])
    if spec.capture == "log":
        await _read_source(facts, source)
    await _read_target(facts, target)
    return facts


async def read_source_facts(source: Connection, spec: PipelineSpec, position: Position | None) -> Facts:
    """What preflight judges of a source whose target is of another kind; `position` is where the pipeline stands."""
    left = Side(spec.source.system, await read_server(source))
    facts = Facts(spec, left, Side(spec.target.system, left.server), same_database=False, position=position)
    if left.server.version >= 140000 and not left.server.standby:
        await _read_side(left, source, [one.source for one in spec.datasets])
        if spec.capture == "log":
            await _read_source(facts, source)
    return facts


async def read_target_facts(target: Connection, spec: PipelineSpec) -> Facts:
    """What preflight judges of a target whose source is of another kind."""
    right = Side(spec.target.system, await read_server(target))
    facts = Facts(spec, Side(spec.source.system, right.server), right, same_database=False)
    if right.server.version >= 140000 and not right.server.standby:
        await _read_side(right, target, [one.target for one in spec.datasets])
        await _read_target(facts, target)
    return facts


async def is_same_database(source: Connection, target: Connection, left: Server, right: Server) -> bool:
    """Whether two connections end in one database, whatever their addresses.

    Equal identifiers are not enough: a copied data directory keeps them. Only sessions of one database see each
    other's locks.
    """
    if (left.system_identifier, left.database) != (right.system_identifier, right.database):
        return False
    mark = secrets.randbits(62)
    await queries.lock_mark(source, mark=mark)
    try:
        return bool(await queries.count_marks(target, mark=mark))
    finally:
        await queries.delete_mark(source, mark=mark)


async def read_preparation(target: Connection) -> Preparation:
    """What is there of the schema `nms`."""
    return Preparation(**dict(await queries.get_preparation(target)))


async def _read_side(side: Side, connection: Connection, names: list[str]) -> None:
    side.tables = await read_tables(connection, names)
    oids = [table.oid for table in side.tables.values()]
    for row in await queries.list_obstacles(connection, oids=oids):
        values: dict[str, Any] = dict(row)
        values |= {name: tuple(values[name]) for name in ("triggers", "outer_references")}
        side.obstacles[row["oid"]] = Obstacles(**values)
    missing = [name for name in names if name not in side.tables]
    side.kinds = {row["name"]: row["kind"] for row in await queries.list_kinds(connection, names=missing)}


async def _read_source(facts: Facts, source: Connection) -> None:
    slot = await queries.get_slot(source, name=facts.spec.slot)
    facts.slot = None if slot is None else dict(slot)
    for row in await queries.list_publications(source, names=list(publication_names(facts.spec.slot))):
        tables = await queries.list_published_tables(source, name=row["name"])
        facts.publications[row["name"]] = {(one["schema"], one["relation"]) for one in tables}


async def _read_target(facts: Facts, target: Connection) -> None:
    oids = [table.oid for table in facts.target.tables.values()]
    facts.bonds = [Bond(**dict(row)) for row in await queries.list_bonds(target, oids=oids)]
    facts.preparation = await read_preparation(target)
    if facts.preparation.usable:
        row = await queries.get_position(target, pipeline=facts.spec.name)
        if row is not None:
            facts.position = json.loads(row["position"]) if row["position"] else None
            facts.source_system = row["source_system"]
            facts.layouts = json.loads(row["layouts"])
    if facts.begun:
        return
    for name, table in facts.target.tables.items():
        obstacles = facts.target.obstacles[table.oid]
        readable = table.can_select and obstacles.schema_usable and not obstacles.row_security
        if readable and await target.fetchval(select_any(table.quoted)):
            facts.filled.add(name)


def keyed(datasets: Iterable[DatasetSpec], tables: Mapping[str, Table]) -> list[DatasetSpec]:
    """The datasets, each with the key that tells its rows apart where no log names them."""
    return [
        replace(one, key=one.key or (tables[one.source].row_key() or None)) if one.source in tables else one
        for one in datasets
    ]
