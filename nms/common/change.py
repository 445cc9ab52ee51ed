"""Changes and how they fold: one insert, update, delete or truncate of one record."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Final

# A field travels as PostgreSQL's wire and COPY format frame it: a big-endian int32 length, then that many bytes.
# Frames are prefix-free, so joined frames compare as keys, and joined rows are COPY data without another pass.
Field = bytes | None
NULL: Final[bytes] = b"\xff\xff\xff\xff"
UNCHANGED: Final[None] = None
RECORD: Final = "$record"
"""The name of the field that is the whole record, as it came."""


class Op(StrEnum):
    """What happened to a record."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type as the source calls it, and that type's object id (0 where there is none)."""

    name: str
    type: str
    oid: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The columns of one dataset and which of them are its key (indexes into columns; none for a keyless one).

    Shapes are compared by identity: a reader makes one for each state of a dataset's columns.
    """

    dataset: str
    columns: tuple[Column, ...]
    key: tuple[int, ...]

    def key_of(self, values: tuple[Field, ...]) -> bytes:
        """The framed key fields joined; raises ValueError when one of them was left out as unchanged."""
        if len(self.key) == 1:
            field = values[self.key[0]]
            if field is not None:
                return field
        return b"".join(_present(values[index], self) for index in self.key)

    def positions(self, names: Iterable[str]) -> tuple[int, ...]:
        """Indexes of the named columns, in the order of the names."""
        index = {column.name: at for at, column in enumerate(self.columns)}
        return tuple(index[name] for name in names)


class Change:
    """One change of one record.

    `values` has one field a column; UNCHANGED (None) stands for a value the source did not send because it did
    not change. `old_key` is set where the key itself changed (a move). A delete has only its key, a truncate none.
    """

    __slots__ = ("key", "old_key", "op", "shape", "values")

    def __init__(
        self, shape: Shape, op: Op, key: bytes, values: tuple[Field, ...] = (), old_key: bytes | None = None
    ) -> None:
        self.shape = shape
        self.op = op
        self.key = key
        self.values = values
        self.old_key = old_key

    def __repr__(self) -> str:
        return f"Change({self.shape.dataset}, {self.op.value}, {self.key!r})"

    @property
    def partial(self) -> bool:
        """Whether a value is missing because it did not change."""
        return self.op is not Op.DELETE and UNCHANGED in self.values

    @property
    def barrier(self) -> bool:
        """Whether changes must not be folded across this one."""
        return self.old_key is not None or self.op is Op.TRUNCATE

    def then(self, later: "Change") -> "Change":
        """This change and a later one of the same key as one (DESIGN 4.5)."""
        if later.op is Op.DELETE or self.op is Op.DELETE:
            return later
        values = overlay(self.values, later.values) if UNCHANGED in later.values else later.values
        return Change(later.shape, Op.INSERT if self.op is Op.INSERT else later.op, later.key, values)


class Seen(Change):
    """A row as a poll saw it, or that it was gone by then; `version` is another one after each change of the row."""

    __slots__ = ("version",)

    def __init__(self, shape: Shape, op: Op, key: bytes, values: tuple[Field, ...], version: str) -> None:
        super().__init__(shape, op, key, values)
        self.version = version


class Again(Change):
    """A change that is to be made once more, whatever became of it before: a replay, or what was there already."""

    __slots__ = ()


def again(change: Change) -> Change:
    """The change, to be made once more."""
    return Again(change.shape, change.op, change.key, change.values, change.old_key)


def insert_of(shape: Shape, fields: tuple[bytes, ...], *, marked: bool) -> Change:
    """The insert of a row; where rows are marked, their last field is the version (text), which is no column."""
    if not marked:
        return Change(shape, Op.INSERT, shape.key_of(fields), fields)
    *values, version = fields
    return Seen(shape, Op.INSERT, shape.key_of(tuple(values)), tuple(values), version[4:].decode())


def delete_of(shape: Shape, fields: tuple[bytes, ...], *, marked: bool) -> Change:
    """The delete of a row whose key fields are given, with its version behind them where rows are marked."""
    if not marked:
        return Change(shape, Op.DELETE, b"".join(fields))
    *key, version = fields
    return Seen(shape, Op.DELETE, b"".join(key), (), version[4:].decode())


def overlay(base: tuple[Field, ...], newer: tuple[Field, ...]) -> tuple[Field, ...]:
    """The newer values, with the base's where the newer ones were left out as unchanged."""
    return tuple(old if new is UNCHANGED else new for old, new in zip(base, newer, strict=True))


def compact(changes: Iterable[Change]) -> list[Change]:
    """Fold changes of one dataset to at most one per key, in the order of last writes; no barrier among them."""
    latest: dict[bytes, Change] = {}
    for change in changes:
        earlier = latest.pop(change.key, None)
        latest[change.key] = change if earlier is None else earlier.then(change)
    return list(latest.values())


def segments(changes: Iterable[Change]) -> Iterator[tuple[bool, list[Change]]]:
    """Changes in order, cut where folding must stop: barriers by themselves (true), what may be folded (false)."""
    for barrier, group in groupby(changes, key=attrgetter("barrier")):
        yield barrier, list(group)


def frame(value: bytes | None) -> bytes:
    """A value (None is null) as a framed field."""
    return NULL if value is None else len(value).to_bytes(4, "big") + value


def unframe(field: bytes) -> bytes | None:
    """The value of a framed field; None for null."""
    return None if field == NULL else field[4:]


def split_key(key: bytes) -> tuple[bytes, ...]:
    """The framed fields that a key joins."""
    fields = []
    at = 0
    while at < len(key):
        length = int.from_bytes(key[at : at + 4], "big", signed=True)
        end = at + 4 + max(length, 0)
        fields.append(key[at:end])
        at = end
    return tuple(fields)


def _present(field: Field, shape: Shape) -> bytes:
    if field is None:
        raise ValueError(f"a key field of {shape.dataset} was left out")
    return field
