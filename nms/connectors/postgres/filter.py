"""Which rows belong to a pipeline, told of the fields of the stream as the source itself would tell (pure)."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nms.common.change import NULL, UNCHANGED, Field
from nms.common.condition import Condition
from nms.connectors.postgres.comparing import TEXTS, Reader, reader_of
from nms.connectors.postgres.problems import FilterBlind

ORDERING = frozenset({"gt", "gte", "lt", "lte"})
Test = Callable[[bytes], bool]
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "neq": operator.ne, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FilterColumn:
    """What a filter has to know of a column: its type, whether that is an enum.

    `ordered` says that texts come in the order of their bytes; `loose` that different bytes may be equal.
    """

    type: str
    is_enum: bool = False
    ordered: bool = True
    loose: bool = False


def refuse(condition: Condition, column: FilterColumn) -> str:
    """Why a condition on a column cannot be told of the stream exactly as the source tells it; empty when it can."""
    if condition.operator in ("null", "not_null"):
        return ""
    if reader_of(column.type, text_form=True) is None and not column.is_enum:
        return f"values of type {column.type} cannot be compared outside the server"
    if column.loose:
        return "its collation takes different texts for equal"
    if condition.operator in ORDERING and column.is_enum:
        return "the order of an enum's values is the server's own"
    if condition.operator in ORDERING and column.type in TEXTS and not column.ordered:
        return "the order of texts depends on a collation"
    return ""


class Filter:
    """Conditions with what the server made of their values, and the types of their columns, by name."""

    def __init__(self, conditions: Sequence[Condition], types: Mapping[str, str], *, text_form: bool) -> None:
        self.columns = tuple(dict.fromkeys(one.field for one in conditions))
        self._tests = [(one.field, _test(one, types[one.field], text_form)) for one in conditions]

    def bind(self, dataset: str, names: Sequence[str], identity: Sequence[str]) -> "Sieve":
        """The filter for rows whose fields come under these names, in their order; `identity` names the old key."""
        tests = [(names.index(name), test) for name, test in self._tests]
        return Sieve(dataset, tests, by_key=set(self.columns) <= set(identity))


class Sieve:
    """A filter over fields in the order of the stream; `by_key` says that the old key is enough to tell."""

    def __init__(self, dataset: str, tests: Sequence[tuple[int, Test]], *, by_key: bool) -> None:
        self.dataset = dataset
        self.by_key = by_key
        self._tests = tests

    def keeps(self, fields: Sequence[Field]) -> bool:
        """Whether a row meets every condition; raises FilterBlind where a field it needs was not sent."""
        for at, test in self._tests:
            field = fields[at]
            if field is UNCHANGED:
                raise self.blind()
            if not test(field):
                return False
        return True

    def blind(self) -> FilterBlind:
        """The problem of a change that does not tell enough."""
        return FilterBlind(f"{self.dataset}: the log left out values that the filter needs", dataset=self.dataset)


def _test(one: Condition, kind: str, text_form: bool) -> Test:
    if one.operator == "null":
        return lambda field: field == NULL
    if one.operator == "not_null":
        return lambda field: field != NULL
    read = reader_of(kind, text_form=text_form) or bytes
    texts = reader_of(kind, text_form=True) or bytes
    values = [texts(value.encode()) for value in one.values]
    if one.operator in ("eq", "in", "not_in"):
        return _among(read, frozenset(values), wanted=one.operator != "not_in")
    return _compared(read, _COMPARED[one.operator], values[0])


def _among(read: Reader, values: frozenset[object], *, wanted: bool) -> Test:
    return lambda field: field != NULL and (read(field[4:]) in values) is wanted


def _compared(read: Reader, holds: Callable[[Any, Any], bool], value: Any) -> Test:
    return lambda field: field != NULL and holds(read(field[4:]), value)
