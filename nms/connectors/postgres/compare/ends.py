"""The four sessions of a comparison: on each side one that reads everything, and one that looks at single rows."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from nms.common.waiting import together
from nms.connectors.postgres.catalog import Connection
from nms.connectors.postgres.compare.stream import Apart, Key, Lines, merge, read_key
from nms.connectors.postgres.libpq import Libpq
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.spool import Spool, SpoolSpace
from nms.connectors.postgres.target import Fence

CHUNK_KEYS = 1_000
CHUNK_BYTES = 8 << 20


@dataclass(slots=True)
class Side:
    """One side's sessions."""

    system: str
    read: Connection
    look: Libpq

    async def stream(self, lines: Lines, sql: str, values: Sequence[str]) -> None:
        """Read a query into lines; raises a Problem."""
        try:
            await lines.read(self.read, sql, values)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise translate(error, at=self.system) from error

    async def close(self) -> None:
        """End both sessions, whatever they are at; safe to call twice."""
        self.read.terminate()
        with suppress(Exception):
            await self.look.close()


@dataclass(slots=True)
class Ends:
    """Both sides, the fence of the worker, and the disk for keys that were found."""

    source: Side
    target: Side
    fence: Fence
    space: SpoolSpace

    async def scan(
        self, sqls: tuple[str, str], values: Sequence[str], note: Callable[[Apart], None]
    ) -> tuple[int, int]:
        """Read both sides, note what stands on one only; gives how many lines each has. Raises a Problem."""
        left, right = Lines(), Lines()
        try:
            async with together() as group:
                group.create_task(self.source.stream(left, sqls[0], values))
                group.create_task(self.target.stream(right, sqls[1], values))
                async for apart in merge(left, right):
                    note(apart)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return left.count, right.count


class Keys:
    """Keys that were found, in memory while few, on disk beyond."""

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self._spool = Spool(space)
        self.count = 0

    def add(self, fields: Sequence[bytes]) -> None:
        """Add a key as it stands in a line."""
        self._spool.append(b"\t".join(fields))
        self.count += 1

    async def portions(self, size: Callable[[], int]) -> AsyncIterator[list[Key]]:
        """The keys in portions of a size that is asked for each time; nothing can be added any more."""
        self._spool.complete()
        portion: list[Key] = []
        async for payloads in self._spool.read():
            for payload in payloads:
                portion.append(read_key(payload.split(b"\t")))
                if len(portion) >= size():
                    yield portion
                    portion = []
        if portion:
            yield portion

    def discard(self) -> None:
        """Free memory and disk, and begin anew."""
        self._spool.discard()
        self._spool, self.count = Spool(self._space), 0


class Portion:
    """How many rows are looked at together, so that they fit into memory."""

    def __init__(self, row_bytes: int) -> None:
        self._row_bytes = max(row_bytes, 1)

    def size(self) -> int:
        """Rows of the next portion."""
        return max(1, min(CHUNK_KEYS, CHUNK_BYTES // self._row_bytes))

    def learn(self, rows: Sequence[tuple[bytes, ...]]) -> None:
        """Take note of what rows take, quickly when they are large and slowly when they are small."""
        if rows:
            seen = sum(len(field) for row in rows for field in row) // len(rows)
            self._row_bytes = max(1, seen, (3 * self._row_bytes + seen) // 4)
