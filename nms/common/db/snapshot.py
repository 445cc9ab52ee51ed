"""One snapshot of a database, read piece by piece, however long the answer is."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.pool import ACQUIRE_SECONDS, get_pool_of
from nms.common.db.problems import translated
from nms.common.settings import get_settings

PIECE_BYTES: Final = 128 << 10
MOST_ROWS: Final = 1_000
FIRST_ROWS: Final = 16
GROWTH: Final = 4
"""A piece has at most so many times the rows of the one before: large rows may stand behind many small ones."""
ROW_SECONDS: Final = 600.0
"""How long the next piece may take: what no index serves is read from the beginning of the table."""

Row = Mapping[Any, Any]
Measure = Callable[[Sequence[Any]], int]
"""Bytes of some rows."""


class Snapshot:
    """A read-only transaction that sees the database as it was at its first statement."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def pieces(self, text: str, values: Sequence[Any], measure: Measure) -> AsyncIterator[list[Any]]:
        """The rows of a statement in pieces of about 128 KB, the next one read when it is asked for."""
        with translated():
            cursor = await self.connection.cursor(text, *values, timeout=ROW_SECONDS)
        size = FIRST_ROWS
        while True:
            with translated():
                rows = await cursor.fetch(size, timeout=ROW_SECONDS)
            if rows:
                yield rows
            if len(rows) < size:
                return
            size = next_size(size, measure(rows))


def next_size(size: int, bytes_: int) -> int:
    """How many rows to ask for after so many had so many bytes."""
    fitting = size * PIECE_BYTES // max(1, bytes_)
    return max(1, min(fitting, size * GROWTH, MOST_ROWS))


@asynccontextmanager
async def open_snapshot(kind: DSNType, *, apart: str) -> AsyncIterator[Snapshot]:
    """A snapshot on a connection of the small pool of this name, so that what takes long keeps nobody waiting."""
    pool = await get_pool_of(dsn_of(kind, get_settings()), apart)
    with translated():
        connection = await pool.acquire(timeout=ACQUIRE_SECONDS)
    try:
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        with translated():
            await transaction.start()
        try:
            yield Snapshot(connection)
        finally:
            with translated():
                await transaction.rollback()
    finally:
        await pool.release(connection)
