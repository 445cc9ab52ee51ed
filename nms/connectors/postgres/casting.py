"""Casts by name: which type the values of a source column are read as at the target (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nms.common.finding import Finding
from nms.common.flow import DatasetSpec
from nms.connectors.postgres.catalog import TableColumn

# The names of casts that the server calls otherwise.
_NAMES: Final[Mapping[str, str]] = {
    "varchar": "character varying",
    "double": "double precision",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
}
# Types whose values stay different ones in whatever reads them from their text.
_DISTINCT: Final = frozenset({"smallint", "integer", "bigint", "boolean", "uuid", "date"})
_NUMBERS: Final = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})


def cast_of(spec: DatasetSpec, column: TableColumn) -> str:
    """The type that the values of a source column are read as at the target: its own, or that of its cast."""
    cast = (spec.casts or {}).get(column.name)
    return column.type if cast is None else _NAMES.get(cast, cast)


def read_as(spec: DatasetSpec, left: TableColumn, right: TableColumn) -> str:
    """The casts, one behind the other, that make a value of the target's column of a text."""
    cast = cast_of(spec, left)
    steps = [] if cast in (left.type, right.type) else [cast]
    if left.type == "boolean" and cast in _NUMBERS:
        # The text of a truth value is no number, and of all numbers only integers are made of truth values.
        steps = ["boolean", "integer"]
    return "::".join([*steps, right.cast])


def judge_casts(
    spec: DatasetSpec, travels: Sequence[TableColumn], key: Sequence[str], system: str, pointer: str
) -> Iterator[Finding]:
    """Casts of what does not travel, and those by which different keys could become one."""
    casts, columns = spec.casts or {}, {column.name: column for column in travels}
    absent = [name for name in casts if name not in columns]
    if absent:
        text = f"{spec.source}: column {absent[0]} does not travel, so there is nothing to cast"
        yield Finding("column-missing", text, system, pointer=pointer, remedy="Correct `casts`.")
    risky = [one for one in (columns[name] for name in key if name in casts and name in columns)
             if one.type not in _DISTINCT and cast_of(spec, one) != one.type]  # fmt: skip
    if risky:
        text = (
            f"{spec.source}: key column {risky[0].name} is {risky[0].type}; by a cast different keys could become one"
        )
        remedy = "Give the target's key column the type of the source's."
        yield Finding("cast-key", text, system, pointer=pointer, remedy=remedy)
