"""Tables as the log describes them, and as they were where a position stands: pure (DESIGN 4.8)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nms.connectors.postgres.catalog import Table, TableColumn, TableKey
from nms.connectors.postgres.pairing import Pair
from nms.connectors.postgres.pgoutput import Relation, Sent

Stored = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type as a column of it is described; the rest as in TableColumn."""

    type: str
    full_type: str
    portable: bool
    wire: str


Kinds = Mapping[tuple[int, int], Kind]
"""Types by object id and modifier."""


def relation_of(table: Table) -> Relation:
    """A table of the catalog as the stream describes it."""
    key = set(table.log_key()) if table.identity != "f" else {column.name for column in table.columns}
    sent = (Sent(one.name, one.oid, one.modifier, one.name in key) for one in table.sent())
    return Relation(table.oid, table.schema, table.relation, tuple(sent), table.identity)


def table_of(relation: Relation, known: Table, present: Table | None, kinds: Kinds) -> Table:
    """The table as a relation message has it; what that does not tell is as it is now, or as it was known."""
    columns = [_column(sent, known, present, kinds) for sent in relation.columns]
    return replace(
        known, schema=relation.schema, relation=relation.name, identity=relation.identity, columns=columns,
        keys=_keys(relation, known),
    )  # fmt: skip


def unknown_types(relation: Relation, tables: Iterable[Table]) -> list[tuple[int, int]]:
    """Types, with modifiers, that no column of these tables has."""
    known = {(one.oid, one.modifier) for table in tables for one in table.columns}
    return [pair for pair in ((one.oid, one.modifier) for one in relation.columns) if pair not in known]


def describe(one: Pair) -> Stored:
    """What is kept of a table beside the position: how the log described it, which columns fed which."""
    source = one.source
    return {
        "oid": source.oid,
        "name": [source.schema, source.relation],
        "identity": source.identity,
        "key": list(one.key),
        "columns": [[column.name, column.oid, column.modifier, column.number] for column in source.sent()],
        "fed": one.fed(),
    }


def recall(stored: Stored) -> Relation:
    """The relation that was kept."""
    key = set(stored["key"]) if stored["identity"] != "f" else {name for name, *_ in stored["columns"]}
    columns = tuple(Sent(name, oid, modifier, name in key) for name, oid, modifier, _ in stored["columns"])
    schema, name = stored["name"]
    return Relation(stored["oid"], schema, name, columns, stored["identity"])


def renumber(table: Table, stored: Stored) -> Table:
    """The table with the numbers that its columns had when they were kept."""
    numbers = {name: number for name, _, _, number in stored["columns"]}
    return replace(table, columns=[replace(one, number=numbers.get(one.name, one.number)) for one in table.columns])


def _column(sent: Sent, known: Table, present: Table | None, kinds: Kinds) -> TableColumn:
    named = {one.name: one for one in present.columns}.get(sent.name) if present is not None else None
    tables = [table for table in (present, known) if table is not None]
    for table in tables:
        for one in table.columns:
            if (one.name, one.oid, one.modifier) == (sent.name, sent.oid, sent.modifier):
                return one
    kind = kinds.get((sent.oid, sent.modifier)) or _borrowed(sent, tables)
    made = TableColumn(
        sent.name, sent.oid, kind.type, kind.full_type, kind.full_type, required=False, has_default=False,
        generated=False, identity="", collated=True, portable=kind.portable, wire=kind.wire, modifier=sent.modifier,
    )  # fmt: skip
    if named is None:
        return made
    # The same column, that has changed its type once more meanwhile.
    return replace(
        made, number=named.number, missing=named.missing, has_default=named.has_default, identity=named.identity,
        collated=named.collated,
    )  # fmt: skip


def _borrowed(sent: Sent, tables: Iterable[Table]) -> Kind:
    for table in tables:
        for one in table.columns:
            if (one.oid, one.modifier) == (sent.oid, sent.modifier):
                return Kind(one.type, one.full_type, one.portable, one.wire)
    return Kind(f"type {sent.oid}", f"type {sent.oid}", False, "")


def _keys(relation: Relation, known: Table) -> list[TableKey]:
    if relation.identity not in "di":
        return known.keys
    names = {one.name for one in relation.columns}
    flagged = [one.name for one in relation.columns if one.key]
    others = [
        replace(key, primary=False, identity=False) for key in known.keys
        if set(key.columns) <= names and set(key.columns) != set(flagged)
    ]  # fmt: skip
    if not flagged:
        return others
    same = next((key.columns for key in known.keys if set(key.columns) == set(flagged)), tuple(flagged))
    return [TableKey(same, primary=relation.identity == "d", identity=relation.identity == "i", required=True), *others]
