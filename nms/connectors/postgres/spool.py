"""The spool: payloads in memory while few, on disk beyond, read from the start any number of times."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from struct import Struct

from nms.connectors.postgres.problems import SpoolFull

_length = Struct("!I")
_BLOCK = 1 << 18


class SpoolSpace:
    """The disk that all spools of one source may take together; its directory is emptied at start."""

    def __init__(self, directory: Path, budget: int) -> None:
        self.directory = directory
        self.budget = budget
        self.used = 0
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.iterdir():
            left.unlink()

    def take(self, size: int) -> None:
        """Account for bytes about to be written; raises SpoolFull beyond the budget."""
        if self.used + size > self.budget:
            raise SpoolFull(f"transactions under way need more than {self.budget} bytes of spool", budget=self.budget)
        self.used += size

    def give(self, size: int) -> None:
        """Account for bytes freed."""
        self.used -= size


class Spool:
    """Payloads in order. `read` follows the tail until `complete`; `discard` frees the disk."""

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self._buffer = bytearray()
        self._file: int | None = None
        self._written = 0
        self._complete = False
        self._failure: BaseException | None = None
        self._more = asyncio.Event()

    def append(self, payload: bytes) -> None:
        """Add one payload."""
        self._buffer += _length.pack(len(payload))
        self._buffer += payload
        if len(self._buffer) >= _BLOCK:
            self._spill()
            self._more.set()

    def complete(self) -> None:
        """Nothing more comes."""
        self._complete = True
        self._more.set()

    @property
    def is_complete(self) -> bool:
        """Whether everything has arrived."""
        return self._complete

    def fail(self, failure: BaseException) -> None:
        """The rest will not come: whoever reads, or will, gets this failure."""
        self._failure = failure
        self._more.set()

    def discard(self) -> None:
        """Free memory and disk; the spool must not be read any more."""
        self._buffer = bytearray()
        self._complete = True
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._space.give(self._written)
        self._more.set()

    async def read(self) -> AsyncIterator[Iterator[bytes]]:
        """Blocks of payloads from the start, waiting for more until the spool is complete."""
        at = 0
        left = b""
        while True:
            complete = self._complete
            block = self._block(at)
            if block:
                at += len(block)
                payloads, left = split(left + block)
                yield iter(payloads)
            elif complete:
                return
            elif self._failure is not None:
                raise self._failure
            else:
                self._more.clear()
                await self._more.wait()

    def _block(self, at: int) -> bytes:
        if at < self._written and self._file is not None:
            return os.pread(self._file, min(_BLOCK, self._written - at), at)
        return bytes(self._buffer[at - self._written :])

    def _spill(self) -> None:
        if self._file is None:
            handle, path = tempfile.mkstemp(dir=self._space.directory)
            Path(path).unlink()
            self._file = handle
        self._space.take(len(self._buffer))
        view = memoryview(self._buffer)
        while view:
            written = os.write(self._file, view)
            self._written += written
            view = view[written:]
        view.release()
        self._buffer = bytearray()


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole payloads at the front of data, and the rest."""
    payloads = []
    at = 0
    end = len(data)
    while at + 4 <= end:
        stop = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if stop > end:
            break
        payloads.append(data[at + 4 : stop])
        at = stop
    return payloads, data[at:]


class RowBuffer:
    """One COPY stream, in memory while small, on disk beyond; iterates over its blocks any number of times."""

    def __init__(self, space: SpoolSpace, in_memory: int = 32 << 20) -> None:
        self._space = space
        self._limit = in_memory
        self._blocks: list[bytes] = []
        self._file: int | None = None
        self._spilled = 0
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Add bytes (the form asyncpg's COPY output wants)."""
        self.add(data)

    def add(self, data: bytes) -> None:
        """Add bytes."""
        self._blocks.append(data)
        self.size += len(data)
        if self.size - self._spilled > self._limit:
            self._spill()

    def discard(self) -> None:
        """Free memory and disk."""
        self._blocks = []
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._space.give(self._spilled)

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        while self._file is not None and at < self._spilled:
            block = os.pread(self._file, min(_BLOCK, self._spilled - at), at)
            at += len(block)
            yield block
        yield from self._blocks

    def _spill(self) -> None:
        if self._file is None:
            self._file, path = tempfile.mkstemp(dir=self._space.directory)
            Path(path).unlink()
        size = sum(len(block) for block in self._blocks)
        self._space.take(size)
        for block in self._blocks:
            view = memoryview(block)
            while view:
                view = view[os.write(self._file, view) :]
        self._spilled += size
        self._blocks = []
