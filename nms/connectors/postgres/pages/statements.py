"""The SQL that writes a page of JSON records in one statement (PostgreSQL manual, 9.16: json_to_recordset)."""

from collections.abc import Sequence

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.connectors.postgres.statements import TargetTable, of_text, on_conflict, written

MOST_BYTES = 63
"""What PostgreSQL keeps of a name; a longer member cannot be called by its own."""


def callable_members(names: Sequence[str]) -> bool:
    """Whether SQL can call members of a record by these names: dotted ones are paths, long ones are cut off."""
    return all("." not in name and len(name.encode()) <= MOST_BYTES for name in names)


def upsert_page(table: TargetTable, names: Sequence[str], present: Sequence[int], path: Sequence[str]) -> str:
    """Insert of all records of a page, or update of the rows that differ; its parameter is the page as json.

    `names` are those of the members, in the order of the table's columns; of them the `present` ones are read.
    """
    columns, values = written(table, [_value(table, names[at], at) for at in present], present)
    members = ", ".join(f"{quote_identifier(names[at])} {_read_as(table.types[at])}" for at in present)
    page = f"$1 operator(pg_catalog.#>) array[{', '.join(map(quote_literal, path))}]" if path else "$1"
    return (
        f"insert into {table.name} as t ({columns}) overriding system value"
        f" select {values} from pg_catalog.json_to_recordset({page}) as x({members})"
        f"{on_conflict(table, present, differing=True)}"
    )


def _read_as(kind: str) -> str:
    """The type a member is read as; text where one step more leads to the column's."""
    return "text" if kind == "regclass" or "::" in kind else kind


def _value(table: TargetTable, name: str, at: int) -> str:
    value, kind = f"x.{quote_identifier(name)}", table.types[at]
    return value if _read_as(kind) == kind else of_text(value, kind)
