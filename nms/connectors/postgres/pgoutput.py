"""Decoding of pgoutput messages (PostgreSQL manual, 55.9), pure: bytes in, changes out."""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from nms.common.change import NULL, Change, Field, Op, Shape

BEGIN, COMMIT, RELATION, TYPE, ORIGIN, MESSAGE = b"BCRYOM"
INSERT, UPDATE, DELETE, TRUNCATE = b"IUDT"
STREAM_START, STREAM_STOP, STREAM_COMMIT, STREAM_ABORT = b"SEcA"

_PRESENT = b"bt"
_NULL, _UNCHANGED = b"nu"
_NEW, _KEY, _OLD = b"NKO"
_EPOCH = 946_684_800
_int32 = Struct("!I").unpack_from
_int16 = Struct("!H").unpack_from
_begin = Struct("!QqI").unpack_from
_commit = Struct("!BQQq").unpack_from
_stream_commit = Struct("!IBQQq").unpack_from


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the stream describes it: columns in the stream's order with their type object ids."""

    oid: int
    schema: str
    name: str
    columns: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A logical decoding message (`pg_logical_emit_message`)."""

    prefix: str
    content: bytes


@dataclass(slots=True)
class Layout:
    """How tuples of a relation become values of a shape: which of its columns, in the shape's order."""

    shape: Shape
    picks: tuple[int, ...]
    straight: bool


class Decoder:
    """Changes of payloads in commit order; relation messages among them update what it knows.

    `layout` tells for a relation how to read it, None to leave it out. `streamed` payloads carry a transaction id
    after their first byte.
    """

    def __init__(self, layout: Callable[[Relation], Layout | None]) -> None:
        self._layout = layout
        self._layouts: dict[int, Layout | None] = {}

    def fork(self) -> "Decoder":
        """A decoder that knows what this one knows now and learns on its own."""
        fork = Decoder(self._layout)
        fork._layouts = dict(self._layouts)
        return fork

    def learn(self, payload: bytes, *, streamed: bool = False) -> None:
        """Take note of a relation message."""
        relation = parse_relation(payload, 5 if streamed else 1)
        self._layouts[relation.oid] = self._layout(relation)

    def decode(self, payload: bytes, into: list[Change], *, streamed: bool = False) -> None:
        """Append the changes of one payload; messages other than data are passed over."""
        kind = payload[0]
        at = 5 if streamed else 1
        if kind == RELATION:
            self.learn(payload, streamed=streamed)
        elif kind == TRUNCATE:
            self._truncate(payload, at, into)
        elif kind in (INSERT, UPDATE, DELETE):
            layout = self._layouts[_int32(payload, at)[0]]
            if layout is not None:
                into.append(_READ[kind](layout, payload, at + 4))

    def _truncate(self, payload: bytes, at: int, into: list[Change]) -> None:
        count = _int32(payload, at)[0]
        for index in range(count):
            layout = self._layouts[_int32(payload, at + 5 + 4 * index)[0]]
            if layout is not None:
                into.append(Change(layout.shape, Op.TRUNCATE, b""))


def parse_begin(payload: bytes) -> tuple[int, float, int]:
    """Commit LSN, commit time (seconds since 1970) and transaction id of a Begin."""
    lsn, micros, xid = _begin(payload, 1)
    return lsn, micros / 1e6 + _EPOCH, xid


def parse_commit(payload: bytes) -> tuple[int, float]:
    """End LSN and commit time of a Commit."""
    _, _, end, micros = _commit(payload, 1)
    return end, micros / 1e6 + _EPOCH


def parse_stream_commit(payload: bytes) -> tuple[int, int, float]:
    """Transaction id, end LSN and commit time of a Stream Commit."""
    xid, _, _, end, micros = _stream_commit(payload, 1)
    return xid, end, micros / 1e6 + _EPOCH


def parse_xid(payload: bytes, at: int = 1) -> int:
    """The transaction id at an offset."""
    xid: int = _int32(payload, at)[0]
    return xid


def parse_message(payload: bytes, at: int = 1) -> Message:
    """A logical message; `at` is behind the transaction id of a streamed one."""
    end = payload.index(b"\0", at + 9)
    return Message(payload[at + 9 : end].decode(), payload[end + 5 :])


def parse_relation(payload: bytes, at: int = 1) -> Relation:
    """A relation message; `at` is behind the transaction id of a streamed one."""
    oid = _int32(payload, at)[0]
    schema, at = _string(payload, at + 4)
    name, at = _string(payload, at)
    count = _int16(payload, at + 1)[0]
    at += 3
    columns = []
    for _ in range(count):
        column, at = _string(payload, at + 1)
        columns.append((column, _int32(payload, at)[0]))
        at += 8
    return Relation(oid, schema or "pg_catalog", name, tuple(columns))


def read_fields(payload: bytes, at: int) -> tuple[list[Field], int]:
    """The framed fields of a TupleData, and where it ends."""
    fields: list[Field] = []
    append = fields.append
    count = payload[at] << 8 | payload[at + 1]
    at += 2
    for _ in range(count):
        kind = payload[at]
        if kind in _PRESENT:
            end = at + 5 + _int32(payload, at + 1)[0]
            append(payload[at + 1 : end])
            at = end
        else:
            append(NULL if kind == _NULL else None)
            at += 1
    return fields, at


def _values(layout: Layout, fields: list[Field]) -> tuple[Field, ...]:
    return tuple(fields) if layout.straight else tuple([fields[pick] for pick in layout.picks])


def _insert(layout: Layout, payload: bytes, at: int) -> Change:
    values = _values(layout, read_fields(payload, at + 1)[0])
    shape = layout.shape
    return Change(shape, Op.INSERT, shape.key_of(values), values)


def _update(layout: Layout, payload: bytes, at: int) -> Change:
    shape = layout.shape
    old: tuple[Field, ...] | None = None
    kind = payload[at]
    if kind != _NEW:
        fields, at = read_fields(payload, at + 1)
        old = _values(layout, fields)
    values = _values(layout, read_fields(payload, at + 1)[0])
    if old is not None:
        # With a key alone the other fields are null there; with the whole row all of it is what it was.
        known = old if kind == _OLD else tuple(old[at] if at in shape.key else None for at in range(len(old)))
        values = tuple(was if now is None else now for was, now in zip(known, values, strict=True))
    key = shape.key_of(values)
    old_key = None if old is None else shape.key_of(old)
    return Change(shape, Op.UPDATE, key, values, None if old_key == key else old_key)


def _delete(layout: Layout, payload: bytes, at: int) -> Change:
    old = _values(layout, read_fields(payload, at + 1)[0])
    return Change(layout.shape, Op.DELETE, layout.shape.key_of(old))


def _string(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.index(b"\0", at)
    return payload[at:end].decode(), end + 1


_READ = {INSERT: _insert, UPDATE: _update, DELETE: _delete}
