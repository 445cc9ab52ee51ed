"""Two ordered streams of lines, merged in bounded memory: which lines stand on one side only."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from nms.connectors.postgres.catalog import Connection

Key = tuple[bytes, ...]
"""The fields of a key in text form."""

BLOCK_BYTES = 1 << 18
_WAITING_BLOCKS = 2
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


@dataclass(slots=True)
class Apart:
    """Lines of one stretch that stand on the left only, and on the right only."""

    left: set[bytes]
    right: set[bytes]


class Lines:
    """One side's lines, each beginning with a whole number by which all are ordered, as the server sends them."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = False
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_BLOCKS)
        self._gathered: list[bytes] = []
        self._size = 0
        self._rest = b""
        self._lines: list[bytes] = []

    async def read(self, connection: Connection, sql: str, values: Sequence[str]) -> None:
        """Send the query and take what it answers, no faster than it is used up."""
        await connection.copy_from_query(sql, *values, output=self._take, format="text")
        await self._waiting.put(b"".join(self._gathered))
        await self._waiting.put(None)

    async def _take(self, data: bytes) -> None:
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= BLOCK_BYTES:
            block, self._gathered, self._size = b"".join(self._gathered), [], 0
            await self._waiting.put(block)

    async def fill(self, bound: int | None) -> None:
        """Wait for more, unless something stands behind the bound already or nothing more comes."""
        while not self.ended and (bound is None or not self._lines or number_of(self._lines[-1]) <= bound):
            block = await self._waiting.get()
            if block is None:
                self.ended = True
                return
            *lines, self._rest = (self._rest + block).split(b"\n")
            self._lines += lines
            self.count += len(lines)
            if lines:
                return

    @property
    def last(self) -> int | None:
        """The number of the last line so far; None where nothing more comes, so that all may be used."""
        return None if self.ended else number_of(self._lines[-1])

    def cut(self, bound: int | None) -> list[bytes]:
        """The lines before the bound, which leave; all of them without one."""
        at = len(self._lines) if bound is None else bisect_left(self._lines, bound, key=number_of)
        lines, self._lines = self._lines[:at], self._lines[at:]
        return lines


async def merge(left: Lines, right: Lines) -> AsyncIterator[Apart]:
    """What stands on one side only, stretch by stretch; lines of one number never fall into two stretches."""
    bound: int | None = None
    while True:
        await left.fill(bound)
        await right.fill(bound)
        lasts = [one.last for one in (left, right)]
        bound = min((last for last in lasts if last is not None), default=None)
        ours, theirs = left.cut(bound), right.cut(bound)
        if ours != theirs:
            mine, others = set(ours), set(theirs)
            yield Apart(mine - others, others - mine)
        if left.ended and right.ended:
            return


def number_of(line: bytes) -> int:
    """The number a line begins with."""
    return int(line[: line.index(b"\t")])


def read_key(fields: Sequence[bytes]) -> Key:
    """A key from fields as COPY's text format writes them (PostgreSQL manual, COPY)."""
    return tuple(_unescape(field) if b"\\" in field else field for field in fields)


def _unescape(field: bytes) -> bytes:
    first, *rest = field.split(b"\\")
    made, parts = [first], iter(rest)
    for part in parts:
        # An empty part stands between two backslashes: the second is meant.
        made.append(b"\\" + next(parts, b"") if not part else _ESCAPES.get(part[:1], part[:1]) + part[1:])
    return b"".join(made)
