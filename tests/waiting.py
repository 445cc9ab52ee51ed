"""Waiting for a state with a deadline, instead of sleeping."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 90.0
"""Seconds until a state that does not come is told: no promise, a machine may be slow. A promise names its seconds."""
SHORTEST, LONGEST, GROWTH = 0.02, 0.1, 1.1

T = TypeVar("T")


class Stopwatch:
    """Tells how long something takes, without what the machine had other work to do meanwhile."""

    def __init__(self) -> None:
        self._began, self._stalled = time.monotonic(), stalled_seconds()

    def seconds(self) -> float:
        """Since it was made, without those in which anything waited for a processor or the disk."""
        return self.real_seconds() - (stalled_seconds() - self._stalled)

    def real_seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began


def stalled_seconds() -> float:
    """Seconds since the machine began in which something waited for processor, disk or memory (Linux, PSI: `some`).

    With those in which another machine on the same host had a processor of ours, which PSI does not count.
    """
    return sum(_total(resource) for resource in ("cpu", "io", "memory")) + _stolen()


def _total(resource: str) -> float:
    try:
        told = Path(f"/proc/pressure/{resource}").read_text()
    except OSError:
        return 0.0
    return int(told.split("total=")[1].split()[0]) / 1e6


def _stolen() -> float:
    """Of all processors together (proc_stat(5): the eighth number of the first line)."""
    try:
        ticks = int(Path("/proc/stat").read_text().split(maxsplit=9)[8])
    except (OSError, ValueError, IndexError):
        return 0.0
    return ticks / os.sysconf("SC_CLK_TCK")


async def eventually(look: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
    """The first true answer of `look`; fails with its last answer when none comes in time.

    While others had the processor or the disk no time passes, for PATIENCE at most: a promise is about us.
    """
    watch, pause = Stopwatch(), SHORTEST
    while True:
        # A look may take a while and tells of its beginning: the last one begins when the time is over.
        over = watch.seconds() > seconds or watch.real_seconds() > max(seconds, PATIENCE)
        answer = await look()
        if answer:
            return answer
        if over:
            raise AssertionError(f"not within {seconds} s; the last answer was {answer!r}")
        await asyncio.sleep(pause)
        # What is asked often slows down what it waits for.
        pause = min(pause * GROWTH, LONGEST)


async def insist(ask: Callable[[], Awaitable[T]], passing: type[Exception], seconds: float = PATIENCE) -> T:
    """What `ask` answers, asked again while it meets an error that passes."""

    async def look() -> tuple[T] | None:
        try:
            return (await ask(),)
        except passing:
            return None

    return (await eventually(look, seconds))[0]
