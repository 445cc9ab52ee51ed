"""Rows in PostgreSQL's binary COPY format (PostgreSQL manual, COPY), pure."""

from collections.abc import Iterable, Iterator
from struct import Struct

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_int16 = Struct("!h")
_END = -1


def read_rows(data: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Framed fields of each row; `data` is one COPY stream, cut anywhere."""
    stream = b"".join(data)
    at = len(HEADER)
    while (count := _int16.unpack_from(stream, at)[0]) != _END:
        at += 2
        fields = []
        for _ in range(count):
            length = int.from_bytes(stream[at : at + 4], "big", signed=True)
            end = at + 4 + max(length, 0)
            fields.append(stream[at:end])
            at = end
        yield tuple(fields)


def write_rows(rows: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    """One COPY stream, as a list of blocks, of rows of framed fields."""
    body = [b"".join((_int16.pack(len(row)), *row)) for row in rows]
    return [b"".join((HEADER, *body, TRAILER))]
