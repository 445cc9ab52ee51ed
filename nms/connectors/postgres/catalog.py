"""What a server says of itself and its tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg

from nms.common.db.queries import load
from nms.connectors.postgres.libpq import PINNED, Access
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.statements import quote_table

_MODIFIER = re.compile(r"\([^)]*\)")
queries = load("nms.connectors.postgres", translates=False)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column as the catalog has it.

    `held` is its full type beneath all domains. `portable` says that its binary form means the same on another server
    where `wire`, what that form is made of, is the same. `loose` says that texts may be equal though their bytes differ
    (a collation that is not deterministic), `outlying` that values may be stored out of line, and so be left out of the
    log where they did not change; `inexact` that two values may be equal and not the same.
    `number` and `modifier` are attnum and atttypmod; `missing` is the value, as text, that rows have which are older
    than the column (attmissingval).
    """

    name: str
    oid: int
    type: str
    full_type: str
    held: str
    required: bool
    has_default: bool
    generated: bool
    identity: str
    collated: bool
    portable: bool
    wire: str
    is_enum: bool = False
    loose: bool = False
    outlying: bool = False
    inexact: bool = False
    number: int = 0
    modifier: int = -1
    missing: str | None = None

    @property
    def plain(self) -> str:
        """The type beneath all domains without its modifier: what values of the column compare as."""
        kind = _MODIFIER.sub("", self.held)
        return "bpchar" if kind == "character" else kind

    @property
    def needed(self) -> bool:
        """Whether no row can be written without a value for it."""
        return self.required and not (self.has_default or self.generated or self.identity)

    @property
    def cast(self) -> str:
        """What text is cast to on its way into the column."""
        return self.held if self.held == "regclass" else self.type


@dataclass(frozen=True, slots=True)
class TableKey:
    """A unique index that tells rows apart."""

    columns: tuple[str, ...]
    primary: bool
    identity: bool
    required: bool


@dataclass(slots=True)
class Table:
    """A table: its name as asked for, its place, its columns (in order) and keys; `declared` is a pipeline's key."""

    asked: str
    oid: int
    schema: str
    relation: str
    kind: str
    identity: str
    estimate: int
    bytes: int
    can_select: bool
    can_write: bool
    owned: bool
    acts: bool
    defers: bool
    columns: list[TableColumn] = field(default_factory=list)
    keys: list[TableKey] = field(default_factory=list)
    parents: set[int] = field(default_factory=set)
    toasts: bool = False
    declared: tuple[str, ...] = ()

    @property
    def quoted(self) -> str:
        """The quoted, qualified name."""
        return quote_table(self.schema, self.relation)

    @property
    def own(self) -> str:
        """The quoted name that leaves out children."""
        return f"only {self.quoted}" if self.only else self.quoted

    @property
    def only(self) -> bool:
        """Whether rows of children must be left out: a partitioned table has none of its own."""
        return self.kind == "r"

    def sent(self) -> list[TableColumn]:
        """The columns the stream sends: all but generated ones."""
        return [column for column in self.columns if not column.generated]

    def log_key(self) -> tuple[str, ...]:
        """The columns by which the log names a row (replica identity); empty for a table without."""
        if self.identity == "n":
            return ()
        for key in self.keys:
            if (self.identity == "i" and key.identity) or (self.identity in "df" and key.primary):
                return key.columns
        return ()

    def row_key(self) -> tuple[str, ...]:
        """The columns that tell rows apart where no log names them: the primary key, or others never null."""
        return next((key.columns for key in self.keys if key.primary or key.required), ())

    def has_key(self, columns: Sequence[str]) -> bool:
        """Whether a unique index covers exactly these columns."""
        return any(set(key.columns) == set(columns) for key in self.keys)


async def connect(access: Access, *, name: str, waits: bool = True) -> Connection:
    """An asyncpg connection with pinned settings; raises a Problem.

    Without `waits` its commits are flushed at once and wait for no standby, whatever the server's default.
    """
    settings = {**PINNED, "application_name": name, "search_path": "pg_catalog"}
    if not waits:
        settings["synchronous_commit"] = "local"
    try:
        return await asyncpg.connect(
            access.dsn, password=access.password, server_settings=settings, timeout=10, command_timeout=None
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise translate(error, at=access.system) from error


async def read_tables(connection: Connection, names: Sequence[str]) -> dict[str, Table]:
    """The tables that stand under these names (as SQL would read them), by the name asked for."""
    rows = await queries.list_tables(connection, names=list(names))
    tables = {row["name"]: _table(row) for row in rows}
    by_oid = {table.oid: table for table in tables.values()}
    oids = list(by_oid)
    for row in await queries.list_columns(connection, oids=oids):
        values = dict(row)
        by_oid[values.pop("table_oid")].columns.append(TableColumn(**values))
    for row in await queries.list_keys(connection, oids=oids):
        key = TableKey(tuple(row["columns"]), row["primary_key"], row["identity_key"], row["required"])
        by_oid[row["table_oid"]].keys.append(key)
    for row in await queries.list_references(connection, oids=oids):
        if row["parent"] != row["child"]:
            by_oid[row["child"]].parents.add(row["parent"])
    return tables


def parents_first(tables: Sequence[Table]) -> list[Table]:
    """Tables in an order where every parent precedes its children, as far as there is one."""
    ordered: list[Table] = []
    waiting = list(tables)
    while waiting:
        present = {table.oid for table in waiting}
        free = [table for table in waiting if not table.parents & (present - {table.oid})] or waiting[:1]
        ordered += free
        waiting = [table for table in waiting if table not in free]
    return ordered


def _table(row: asyncpg.Record) -> Table:
    values: dict[str, Any] = dict(row)
    values["asked"] = values.pop("name")
    return Table(**values)
