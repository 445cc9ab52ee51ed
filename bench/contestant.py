"""What a contestant can do; a workload needs no more."""

from collections.abc import Sequence
from typing import Protocol

from bench.place import Place


class Contestant(Protocol):
    """Moves tables from the source to the target of a place."""

    name: str

    async def prepare(self, place: Place) -> None:
        """Whatever an operator does once, before any data is to be moved."""
        ...

    async def begin(self, tables: Sequence[str], *, copy: bool) -> float:
        """Move the tables from now on; with copy what is there is moved first. Answers when it was asked for."""
        ...

    async def pause(self) -> None:
        """Stop consuming; the source keeps what comes."""
        ...

    async def resume(self) -> float:
        """Consume again. Answers when it was asked for, in seconds since 1970."""
        ...

    async def end(self) -> None:
        """Leave nothing behind: no slot, no process."""
        ...

    def pids(self) -> Sequence[int]:
        """Our own processes outside the two servers, for CPU and memory."""
        ...

    async def wait_ready(self) -> None:
        """Wait until changes stream (the copy, where there was one, is done)."""
        ...
