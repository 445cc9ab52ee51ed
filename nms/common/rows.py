"""Rows in PostgreSQL's binary COPY format (PostgreSQL manual, COPY), pure."""

from collections.abc import Iterable, Iterator
from itertools import chain
from struct import Struct

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_int16 = Struct("!h")
_END = -1


def read_rows(data: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Framed fields of each row; `data` is one COPY stream, cut anywhere, of which a few blocks are held at a time."""
    waiting: list[bytes] = []
    size, wanted, at = 0, len(HEADER), len(HEADER)
    for block in chain(data, (b"",)):
        waiting.append(block)
        size += len(block)
        if block and size < wanted:
            continue
        stream = b"".join(waiting)
        while (row := _read_row(stream, at)) is not None:
            fields, at = row
            yield fields
        waiting, size = [stream[at:]], len(stream) - at
        # Twice as much before it is tried again, so that a row of many blocks is not joined anew with each of them.
        wanted, at = 2 * size, 0


def _read_row(stream: bytes, at: int) -> tuple[tuple[bytes, ...], int] | None:
    """A row and where it ends; None where it is not there as a whole."""
    if len(stream) < at + 2 or (count := _int16.unpack_from(stream, at)[0]) == _END:
        return None
    at += 2
    fields = []
    for _ in range(count):
        length = int.from_bytes(stream[at : at + 4], "big", signed=True)
        end = at + 4 + max(length, 0)
        fields.append(stream[at:end])
        at = end
    return (tuple(fields), at) if at <= len(stream) else None


def write_rows(rows: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    """One COPY stream, as a list of blocks, of rows of framed fields."""
    body = [b"".join((_int16.pack(len(row)), *row)) for row in rows]
    return [b"".join((HEADER, *body, TRAILER))]
