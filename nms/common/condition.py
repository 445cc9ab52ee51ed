"""Conditions on the values of a record: which of them belong to a dataset (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

COMPARING: Final = ("eq", "neq", "gt", "gte", "lt", "lte")
LISTING: Final = ("in", "not_in")
IS: Final = {"null": "null", "not null": "not_null"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one field: an operator (eq neq gt gte lt lte in not_in null not_null) and values as text.

    As in SQL, a null meets none of them but `null`.
    """

    field: str
    operator: str
    values: tuple[str, ...] = ()


def conditions_of(where: Mapping[str, Any] | None) -> tuple[Condition, ...]:
    """The conditions that a document's `where` stands for, all of which must hold; it was checked before."""
    found: list[Condition] = []
    for name, asked in (where or {}).items():
        listed = isinstance(asked, Sequence) and not isinstance(asked, str)
        parts = asked.items() if isinstance(asked, Mapping) else [("in" if listed else "eq", asked)]
        found += [_condition(name, operator, value) for operator, value in parts]
    return tuple(found)


def text_of(value: str | float | bool) -> str:
    """A scalar of a document as the text that a database reads as a value of a column's type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _condition(name: str, operator: str, value: Any) -> Condition:
    if operator == "is":
        return Condition(name, IS[value or "null"])
    if value is None:
        return Condition(name, "null" if operator == "eq" else "not_null")
    if operator in LISTING:
        return Condition(name, operator, tuple(text_of(one) for one in value))
    return Condition(name, operator, (text_of(value),))
