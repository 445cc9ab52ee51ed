"""Messages of pgoutput as the manual (55.9) describes them, written by hand; the tests read them back."""

from collections.abc import Sequence
from struct import pack

INT4, TEXT = 23, 25
Value = bytes | None | str
KEPT = "kept"
"""A value that is too big to be sent again and did not change."""


def begin(xid: int, lsn: int) -> bytes:
    return b"B" + pack("!QqI", lsn, 0, xid)


def commit(lsn: int) -> bytes:
    return b"C" + pack("!BQQq", 0, lsn, lsn + 8, 0)


def relation(oid: int, name: str, columns: Sequence[tuple[str, int]], xid: int | None = None) -> bytes:
    body = pack("!I", oid) + b"public\0" + name.encode() + b"\0d" + pack("!H", len(columns))
    for at, (column, kind) in enumerate(columns):
        body += (b"\1" if at == 0 else b"\0") + column.encode() + b"\0" + pack("!Ii", kind, -1)
    return b"R" + stamp(xid) + body


def insert(oid: int, row: Sequence[Value], xid: int | None = None) -> bytes:
    return b"I" + stamp(xid) + pack("!I", oid) + b"N" + tuple_data(row)


def update(
    oid: int, row: Sequence[Value], old: Sequence[Value] | None = None, kind: bytes = b"K", xid: int | None = None
) -> bytes:
    before = b"" if old is None else kind + tuple_data(old)
    return b"U" + stamp(xid) + pack("!I", oid) + before + b"N" + tuple_data(row)


def delete(oid: int, old: Sequence[Value], kind: bytes = b"K", xid: int | None = None) -> bytes:
    return b"D" + stamp(xid) + pack("!I", oid) + kind + tuple_data(old)


def truncate(oids: Sequence[int], xid: int | None = None) -> bytes:
    return b"T" + stamp(xid) + pack(f"!IB{len(oids)}I", len(oids), 0, *oids)


def message(prefix: str, content: bytes) -> bytes:
    return b"M" + pack("!BQ", 1, 7) + prefix.encode() + b"\0" + pack("!I", len(content)) + content


def stream_start(xid: int, *, first: bool) -> bytes:
    return b"S" + pack("!IB", xid, int(first))


def stream_stop() -> bytes:
    return b"E"


def stream_commit(xid: int, lsn: int) -> bytes:
    return b"c" + pack("!IBQQq", xid, 0, lsn, lsn + 8, 0)


def stream_abort(xid: int, sub: int) -> bytes:
    return b"A" + pack("!II", xid, sub)


def tuple_data(row: Sequence[Value]) -> bytes:
    parts = [pack("!H", len(row))]
    for value in row:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, str):
            parts.append(b"u")
        else:
            parts.append(b"b" + pack("!I", len(value)) + value)
    return b"".join(parts)


def stamp(xid: int | None) -> bytes:
    return b"" if xid is None else pack("!I", xid)
