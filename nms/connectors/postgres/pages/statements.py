"""The SQL that writes a page of JSON records in one statement (PostgreSQL manual, 9.16: json_to_recordset)."""

from collections.abc import Mapping, Sequence

from nms.common.change import RECORD
from nms.common.db.quoting import quote_identifier, quote_literal
from nms.connectors.postgres.statements import TargetTable, of_text, on_conflict, written

MOST_BYTES = 63
"""What PostgreSQL keeps of a name; a longer member cannot be called by its own."""


def callable_members(names: Sequence[str]) -> bool:
    """Whether SQL can call members of a record by these names: dotted ones are paths, long ones are cut off."""
    return all("." not in name and len(name.encode()) <= MOST_BYTES for name in names)


def upsert_page(table: TargetTable, names: Sequence[str], present: Sequence[int], path: Sequence[str]) -> str:
    """Insert of all records of a page, or update of the rows that differ; its parameter is the page as json.

    `names` are those of the members, in the order of the table's columns; of them the `present` ones are read. A column
    that wants the whole record gets it, whether a member tells it otherwise (`present`) or not.
    """
    whole = [at for at, name in enumerate(names) if name == RECORD and at not in present]
    places = sorted({*present, *whole})
    values = [f"e.v::{table.types[at]}" if at in whole else _value(table, names[at], at) for at in places]
    columns, listed = written(table, values, places)
    page = f"$1 operator(pg_catalog.#>) array[{', '.join(map(quote_literal, path))}]" if path else "$1"
    members = ", ".join(f"{quote_identifier(names[at])} {_read_as(table.types[at])}" for at in present)
    records = f"pg_catalog.json_to_recordset({page}) as x({members})"
    if whole:
        each = f"pg_catalog.json_array_elements({page}) as e(v)"
        records = f"{each} cross join lateral pg_catalog.json_to_record(e.v) as x({members})"
    return (
        f"insert into {table.name} as t ({columns}) overriding system value select {listed} from {records}"
        f"{_not_there(table, dict(zip(places, values, strict=True)), listed)}"
        f"{on_conflict(table, places, differing=True)}"
    )


def _not_there(table: TargetTable, values: Mapping[int, str], listed: str) -> str:
    """The condition that passes over records that are there as they came, before any trigger sees them.

    Of an entity (a table that keeps the key of its source) triggers fire for every row that is proposed, conflict or
    not, and cost four times as much as the row.
    """
    if all(one.value for one in table.constants):
        return ""
    key = " and ".join(f"h.{quote_identifier(table.columns[at])} = {values[at]}" for at in table.key)
    names = [*(table.columns[at] for at in values), *(one.name for one in table.constants)]
    here = ", ".join(f"h.{quote_identifier(name)}" for name in names)
    same = f"row({here})::record operator(pg_catalog.*=) row({listed})::record"
    # Asked record by record: as a join, a table that was never analyzed would be gone through once a page.
    return f" where (select {same} from {table.own} h where {key}) is not true"


def _read_as(kind: str) -> str:
    """The type a member is read as; text where one step more leads to the column's."""
    return "text" if kind == "regclass" or "::" in kind else kind


def _value(table: TargetTable, name: str, at: int) -> str:
    value, kind = f"x.{quote_identifier(name)}", table.types[at]
    return value if _read_as(kind) == kind else of_text(value, kind)
