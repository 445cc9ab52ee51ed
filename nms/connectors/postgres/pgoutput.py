"""Decoding of pgoutput messages (PostgreSQL manual, 55.9), pure: bytes in, changes out.

What a server does not write is refused with StreamUnreadable, never guessed at.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from nms.common.change import NULL, UNCHANGED, Change, Field, Op, Shape
from nms.connectors.postgres.filter import Sieve
from nms.connectors.postgres.problems import StreamUnreadable

BEGIN, COMMIT, RELATION, TYPE, ORIGIN, MESSAGE = b"BCRYOM"
INSERT, UPDATE, DELETE, TRUNCATE = b"IUDT"
STREAM_START, STREAM_STOP, STREAM_COMMIT, STREAM_ABORT = b"SEcA"

_PRESENT = b"bt"
_NULL, _UNCHANGED = b"nu"
_NEW, _OLD = b"NO"
_BEFORE = b"KO"
_EPOCH = 946_684_800
_int32 = Struct("!I").unpack_from
_signed = Struct("!i").unpack_from
_int16 = Struct("!H").unpack_from
# These take the whole of a message, so that one that is too short or too long is refused.
_begin = Struct("!xQqI").unpack
_commit = Struct("!xBQQq").unpack
_stream_start = Struct("!xIB").unpack
_stream_commit = Struct("!xIBQQq").unpack
_stream_abort = Struct("!xII").unpack

MALFORMED: Final = (ArithmeticError, IndexError, KeyError, ValueError, struct.error)
"""What reading raises where bytes or their order are none that a server writes; who reads names it with `refuse`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A column as the stream sends it: name, type object id, type modifier, whether the log names rows by it."""

    name: str
    oid: int
    modifier: int = -1
    key: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the stream describes it: columns in the stream's order, replica identity (`relreplident`)."""

    oid: int
    schema: str
    name: str
    columns: tuple[Sent, ...]
    identity: str = "d"


@dataclass(frozen=True, slots=True)
class Message:
    """A logical decoding message (`pg_logical_emit_message`)."""

    prefix: str
    content: bytes


@dataclass(slots=True)
class Layout:
    """How tuples of a relation become values of a shape: which of its columns, in the shape's order, of which rows.

    `width` is the number of columns the relation has, set when the decoder learns it.
    """

    shape: Shape
    picks: tuple[int, ...]
    straight: bool
    sieve: Sieve | None = None
    width: int = 0


class Decoder:
    """Changes of payloads in commit order; relation messages among them update what it knows.

    `layout` tells for a relation how to read it, None to leave it out. `streamed` payloads carry a transaction id
    after their first byte.
    """

    def __init__(self, layout: Callable[[Relation], Layout | None]) -> None:
        self._layout = layout
        self._layouts: dict[int, Layout | None] = {}
        self._relations: dict[int, Relation] = {}

    def fork(self) -> "Decoder":
        """A decoder that knows what this one knows now and learns on its own."""
        fork = Decoder(self._layout)
        fork._layouts = dict(self._layouts)
        return fork

    def told(self, oid: int) -> Relation | None:
        """What the stream last said of a table."""
        return self._relations.get(oid)

    def ask_again(self, oid: int) -> None:
        """Read a table from here on as `layout` says now."""
        relation = self._relations.get(oid)
        if relation is not None:
            self._layouts[oid] = self._layout(relation)

    def learn(self, payload: bytes, *, streamed: bool = False) -> None:
        """Take note of a relation message."""
        try:
            relation = parse_relation(payload, 5 if streamed else 1)
        except MALFORMED as cause:
            raise refuse(payload, cause) from cause
        self._relations[relation.oid] = relation
        layout = self._layouts[relation.oid] = self._layout(relation)
        if layout is not None:
            layout.width = len(relation.columns)

    def decode(self, payload: bytes, into: list[Change], *, streamed: bool = False) -> None:
        """Append the changes of one payload; a relation among them is learned."""
        at = 5 if streamed else 1
        try:
            kind = payload[0]
            if kind == RELATION:
                self.learn(payload, streamed=streamed)
            elif kind == TRUNCATE:
                self._truncate(payload, at, into)
            else:
                layout = self._layouts[_int32(payload, at)[0]]
                if layout is not None:
                    change = (_READ if layout.sieve is None else _SIFT)[kind](layout, payload, at + 4)
                    if change is not None:
                        into.append(change)
        except MALFORMED as cause:
            raise refuse(payload, cause) from cause

    def _truncate(self, payload: bytes, at: int, into: list[Change]) -> None:
        count = _int32(payload, at)[0]
        _end(payload, at + 5 + 4 * count)
        for index in range(count):
            layout = self._layouts[_int32(payload, at + 5 + 4 * index)[0]]
            if layout is not None:
                into.append(Change(layout.shape, Op.TRUNCATE, b""))


def refuse(payload: bytes, cause: Exception) -> StreamUnreadable:
    """The problem of a payload that cannot be read; it tells kind and size, and nothing of the data."""
    kind = chr(payload[0]) if payload else ""
    return StreamUnreadable(
        f"a message {kind!r} of {len(payload)} bytes: {type(cause).__name__}: {cause}", kind=kind, bytes=len(payload)
    )


def parse_begin(payload: bytes) -> tuple[int, float, int]:
    """Commit LSN, commit time (seconds since 1970) and transaction id of a Begin."""
    lsn, micros, xid = _begin(payload)
    return lsn, micros / 1e6 + _EPOCH, xid


def parse_commit(payload: bytes) -> tuple[int, int, float]:
    """Commit LSN, end LSN and commit time of a Commit."""
    _, lsn, end, micros = _commit(payload)
    return lsn, end, micros / 1e6 + _EPOCH


def parse_stream_start(payload: bytes) -> tuple[int, bool]:
    """Transaction id of a Stream Start, and whether this is the first part of the transaction."""
    xid, first = _stream_start(payload)
    return xid, bool(first)


def parse_stream_commit(payload: bytes) -> tuple[int, int, int, float]:
    """Transaction id, commit LSN, end LSN and commit time of a Stream Commit."""
    xid, _, lsn, end, micros = _stream_commit(payload)
    return xid, lsn, end, micros / 1e6 + _EPOCH


def parse_stream_abort(payload: bytes) -> tuple[int, int]:
    """Transaction id and sub-transaction id of a Stream Abort; both are the same where the whole is rolled back."""
    xid, sub = _stream_abort(payload)
    return xid, sub


def parse_xid(payload: bytes) -> int:
    """The (sub-)transaction id of a streamed payload."""
    xid: int = _int32(payload, 1)[0]
    return xid


def parse_message(payload: bytes, at: int = 1) -> Message:
    """A logical message; `at` is behind the transaction id of a streamed one."""
    prefix, at = _string(payload, at + 9)
    _end(payload, at + 4 + _int32(payload, at)[0])
    return Message(prefix, payload[at + 4 :])


def parse_relation(payload: bytes, at: int = 1) -> Relation:
    """A relation message; `at` is behind the transaction id of a streamed one."""
    oid = _int32(payload, at)[0]
    schema, at = _string(payload, at + 4)
    name, at = _string(payload, at)
    identity, count = chr(payload[at]), _int16(payload, at + 1)[0]
    at += 3
    columns = []
    for _ in range(count):
        key = bool(payload[at] & 1)
        column, at = _string(payload, at + 1)
        columns.append(Sent(column, _int32(payload, at)[0], _signed(payload, at + 4)[0], key))
        at += 8
    _end(payload, at)
    return Relation(oid, schema or "pg_catalog", name, tuple(columns), identity)


def read_fields(payload: bytes, at: int, width: int) -> tuple[list[Field], int]:
    """The framed fields of a TupleData, and where it ends: beyond the payload when a length is a lie."""
    fields: list[Field] = []
    append = fields.append
    if payload[at] << 8 | payload[at + 1] != width:
        raise ValueError("it has another number of columns than its relation")
    at += 2
    for _ in range(width):
        kind = payload[at]
        if kind in _PRESENT:
            end = at + 5 + _int32(payload, at + 1)[0]
            append(payload[at + 1 : end])
            at = end
        elif kind == _NULL:
            append(NULL)
            at += 1
        elif kind == _UNCHANGED:
            append(None)
            at += 1
        else:
            raise ValueError("a value is of no known kind")
    return fields, at


def _values(layout: Layout, fields: list[Field]) -> tuple[Field, ...]:
    return tuple(fields) if layout.straight else tuple([fields[pick] for pick in layout.picks])


def _insert(layout: Layout, payload: bytes, at: int) -> Change:
    values = _new_values(layout, payload, at)
    shape = layout.shape
    return Change(shape, Op.INSERT, shape.key_of(values), values)


def _update(layout: Layout, payload: bytes, at: int) -> Change:
    shape = layout.shape
    old: tuple[Field, ...] | None = None
    kind = payload[at]
    if kind in _BEFORE:
        fields, at = read_fields(payload, at + 1, layout.width)
        old = _values(layout, fields)
    values = _new_values(layout, payload, at)
    if old is not None:
        # With a key alone the other fields are null there; with the whole row all of it is what it was.
        known = old if kind == _OLD else tuple(old[at] if at in shape.key else None for at in range(len(old)))
        values = tuple(was if now is None else now for was, now in zip(known, values, strict=True))
    key = shape.key_of(values)
    old_key = None if old is None else shape.key_of(old)
    return Change(shape, Op.UPDATE, key, values, None if old_key == key else old_key)


def _delete(layout: Layout, payload: bytes, at: int) -> Change:
    if payload[at] not in _BEFORE:
        raise ValueError("a delete has no old row")
    fields, at = read_fields(payload, at + 1, layout.width)
    _end(payload, at)
    return Change(layout.shape, Op.DELETE, layout.shape.key_of(_values(layout, fields)))


def _new_values(layout: Layout, payload: bytes, at: int) -> tuple[Field, ...]:
    fields = _new_fields(layout, payload, at)
    return tuple(fields) if layout.straight else _values(layout, fields)


def _end(payload: bytes, at: int) -> None:
    if at != len(payload):
        raise ValueError(f"its contents end at {at}")


def _sift_insert(layout: Layout, payload: bytes, at: int) -> Change | None:
    """An insert within the filter."""
    fields = _new_fields(layout, payload, at)
    if not _sieve(layout).keeps(fields):
        return None
    values = _values(layout, fields)
    return Change(layout.shape, Op.INSERT, layout.shape.key_of(values), values)


def _sift_delete(layout: Layout, payload: bytes, at: int) -> Change | None:
    """A delete within the filter, or one that the log does not tell enough of."""
    sieve, mark = _sieve(layout), payload[at]
    change = _delete(layout, payload, at)
    told = mark == _OLD or sieve.by_key
    return change if not told or sieve.keeps(read_fields(payload, at + 1, layout.width)[0]) else None


def _sift_update(layout: Layout, payload: bytes, at: int) -> Change | None:
    """An update within the filter; of a row that moves in an insert, of one that leaves a delete, else None."""
    sieve, mark, shape = _sieve(layout), payload[at], layout.shape
    old: list[Field] | None = None
    if mark in _BEFORE:
        old, at = read_fields(payload, at + 1, layout.width)
    new = _new_fields(layout, payload, at)
    if old is not None:
        # With a key alone the other fields are null there.
        known = old if mark == _OLD else [None if was == NULL else was for was in old]
        new = [was if now is UNCHANGED else now for was, now in zip(known, new, strict=True)]
    values = _values(layout, new)
    key = shape.key_of(values)
    before = key if old is None else shape.key_of(_values(layout, old))
    stays = sieve.keeps(new)
    was_in = _was_in(sieve, mark, old, stays=stays)
    if not stays:
        return None if was_in is False else Change(shape, Op.DELETE, before)
    if not was_in and UNCHANGED in values:
        raise sieve.blind()
    if was_in is False or (was_in is None and before == key):
        return Change(shape, Op.INSERT, key, values)
    return Change(shape, Op.UPDATE, key, values, None if before == key else before)


def _was_in(sieve: Sieve, mark: int, old: list[Field] | None, *, stays: bool) -> bool | None:
    """Whether a row was within the filter before its update; None where the log does not tell."""
    if old is not None and (mark == _OLD or sieve.by_key):
        return sieve.keeps(old)
    return stays if sieve.by_key else None


def _sieve(layout: Layout) -> Sieve:
    assert layout.sieve is not None
    return layout.sieve


def _new_fields(layout: Layout, payload: bytes, at: int) -> list[Field]:
    if payload[at] != _NEW:
        raise ValueError("a change has no new row")
    fields, at = read_fields(payload, at + 1, layout.width)
    _end(payload, at)
    return fields


def _string(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.index(b"\0", at)
    return payload[at:end].decode(), end + 1


_READ: Mapping[int, Callable[[Layout, bytes, int], Change]] = {
    INSERT: _insert, UPDATE: _update, DELETE: _delete,
}  # fmt: skip
_SIFT: Mapping[int, Callable[[Layout, bytes, int], Change | None]] = {
    INSERT: _sift_insert, UPDATE: _sift_update, DELETE: _sift_delete,
}  # fmt: skip
