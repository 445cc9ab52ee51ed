"""What makes the table of an entity what its document says (pure): what can be done beside writers, what cannot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nms.common.db.quoting import quote_identifier
from nms.common.document import EntityDocument
from nms.warehouse.table import (
    Index,
    add_column,
    cast_column,
    change_key,
    indexes_of,
    is_own_index,
    searched_fields,
    table_of,
    type_of,
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it stands; `plain` says that its texts are in the order of code points, or that it has none."""

    name: str
    type: str
    required: bool
    plain: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """The table of an entity as it stands; `indexes` says of each whether it is whole, `rows` is an estimate."""

    columns: Mapping[str, Column]
    key: tuple[str, ...]
    indexes: Mapping[str, bool]
    rows: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Standing":
        """From what the catalog says."""
        columns = {each["name"]: Column(**each) for each in row["columns"]}
        return cls(columns, tuple(row["key"]), row["indexes"], row["rows"])


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What cannot be done without a plan: a sentence, and the statement that an operator runs."""

    sentence: str
    statement: str

    def to_dict(self) -> dict[str, str]:
        """As JSON values."""
        return {"sentence": self.sentence, "statement": self.statement}


@dataclass(frozen=True, slots=True)
class Alteration:
    """How a table becomes another one.

    `columns` are statements for one short transaction; `required` are fields that no record may be without from now
    on; the indexes of `dropped` go and those of `made` come, both beside writers.
    """

    columns: tuple[str, ...]
    required: tuple[str, ...]
    made: tuple[Index, ...]
    dropped: tuple[str, ...]


def list_obstacles(document: EntityDocument, standing: Standing) -> list[Obstacle]:
    """What of a document cannot be had beside writers: another type, another key."""
    obstacles = list(_find_other_types(document, standing))
    if standing.key != document.key:
        told = f"the key of `{document.name}` is {_list(document.key)}, and its table has {_list(standing.key)}"
        obstacles.append(Obstacle(told, change_key(document)))
    return obstacles


def compare_table(document: EntityDocument, standing: Standing) -> Alteration:
    """What is to be done where no obstacle is in the way."""
    wanted = {index.name: index for index in indexes_of(document)}
    own = {name: whole for name, whole in standing.indexes.items() if is_own_index(document.name, name)}
    return Alteration(
        tuple(_change_columns(document, standing)),
        tuple(_list_required(document, standing)),
        tuple(index for name, index in wanted.items() if not own.get(name, False)),
        tuple(name for name, whole in own.items() if name not in wanted or not whole),
    )


def _find_other_types(document: EntityDocument, standing: Standing) -> Iterator[Obstacle]:
    for name, field in document.fields.items():
        column = standing.columns.get(name)
        if column is None or (column.type == type_of(field) and column.plain):
            continue
        there = column.type if column.type != type_of(field) else "text in another order"
        told = f"the field `{name}` of `{document.name}` is {type_of(field)}, and its column is {there}"
        yield Obstacle(told, cast_column(document, name))


def _change_columns(document: EntityDocument, standing: Standing) -> Iterator[str]:
    alter = f"alter table {table_of(document.name)}"
    for name, field in document.fields.items():
        if name not in standing.columns:
            yield f"{alter} add column {add_column(name, field)}"
    if searched_fields(document) and "_search" not in standing.columns:
        yield f"{alter} add column _search tsvector"
    for name, column in standing.columns.items():
        declared = document.fields.get(name)
        free = declared is None or not declared.required
        if column.required and free and name not in document.key and not name.startswith("_"):
            yield f"{alter} alter column {quote_identifier(name)} drop not null"


def _list_required(document: EntityDocument, standing: Standing) -> Iterator[str]:
    for name, field in document.fields.items():
        column = standing.columns.get(name)
        if field.required and (column is None or not column.required):
            yield name


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
