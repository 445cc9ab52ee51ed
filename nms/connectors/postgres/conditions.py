"""Conditions and values of a mapping as SQL: which rows travel, and which constants they get."""

from collections.abc import Mapping, Sequence

from nms.common.condition import Condition
from nms.common.db.quoting import quote_identifier, quote_literal

_OPERATORS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def filter_rows(conditions: Sequence[Condition], types: Mapping[str, str]) -> str:
    """The SQL condition, over a table's own column names, that rows meet; `types` are those of the columns.

    Values must be what the server itself made of them (`read_literal`), so that `now` and the like stay one value.
    """
    return " and ".join(_condition(one, types[one.field]) for one in conditions)


def full_identity(table: str) -> str:
    """What makes the log tell whole old rows of a table, its name quoted already."""
    return f"alter table {table} replica identity full;"


def read_literal(kind: str) -> str:
    """What the server makes of a text as a value of a type, as text again; the text is a parameter."""
    return f"select pg_catalog.format('%s', $1::text::{kind})"


def literal_of(value: str | None, kind: str) -> str:
    """A value as SQL."""
    return f"null::{kind}" if value is None else f"{quote_literal(value)}::{kind}"


def _condition(one: Condition, kind: str) -> str:
    column = quote_identifier(one.field)
    values = [literal_of(value, kind) for value in one.values]
    if one.operator in ("null", "not_null"):
        # The other way round a null test would ask the fields of a composite one by one.
        return f"{column} is {'not ' * (one.operator == 'null')}distinct from null"
    if one.operator in _OPERATORS:
        return f"{column} {_OPERATORS[one.operator]} {values[0]}"
    return f"{column} {'not ' * (one.operator == 'not_in')}in ({', '.join(values)})"
