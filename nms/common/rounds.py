"""Rounds: when a capture that asks again and again begins anew, by the clock or because somebody asks."""

import asyncio
from contextlib import suppress
from typing import Final

NEVER: Final = float("inf")


class Rounds:
    """Says when the next round of an open pipeline begins; one object for as long as the pipeline is open.

    Asks are numbered by whoever keeps them: `asked` is the newest, `done` the newest that a round has served which
    began after it and whose end is durable at the target. `every` is in seconds; NEVER: only when asked. `resting` is
    true while the next one is waited for: what the one before found has been taken as a whole.
    """

    def __init__(self, every: float, *, asked: int = 0, done: int = 0) -> None:
        self.every = every
        self.asked = asked
        self.done = done
        self._serving = done
        self._began: float | None = None
        self._counted: float | None = None
        self._woken = asyncio.Event()
        self._settled = asyncio.Event()
        self.resting = False

    def ask(self, number: int) -> None:
        """Take note of asks up to this number; one that is new begins a round at once."""
        if number > self.asked:
            self.asked = number
            self._woken.set()

    async def due(self) -> None:
        """Wait until the next round is due: the first at once (unless only asks count), then by the clock or an ask."""
        self.resting = True
        try:
            await self._wait(self._left())
        finally:
            self.resting = False

    async def comes(self, seconds: float) -> bool:
        """Wait for the next round at most so long, in the middle of one; whether it is due."""
        left = self._left()
        await self._wait(seconds if left is None else min(left, seconds))
        return self.is_asked or self._left() == 0.0

    @property
    def is_asked(self) -> bool:
        """Whether somebody asks for a round that began later than this one."""
        return self.asked > self._serving

    @property
    def began(self) -> float | None:
        """When the newest round began, by the loop's clock; None before the first."""
        return self._began

    def begin(self, *, again: bool = False) -> int:
        """A round begins; gives the number of the newest ask, which `end` takes.

        With `again` it is one that could not be ended and begins anew: `began` stays what it is.
        """
        self._counted = asyncio.get_running_loop().time()
        self._began = self._began if again else self._counted
        self._serving = self.asked
        return self._serving

    def end(self, number: int) -> None:
        """What the round that began with this number found is durable at the target."""
        if number > self.done:
            self.done = number
            self._settled.set()

    async def settled(self, seconds: float) -> None:
        """Wait until an ask more has been served, at most so long."""
        self._settled.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()

    def _left(self) -> float | None:
        if self.every == NEVER:
            return None
        if self._counted is None:
            return 0.0
        return max(0.0, self._counted + self.every - asyncio.get_running_loop().time())

    async def _wait(self, seconds: float | None) -> None:
        """Wait so long, or until somebody asks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_asked:
                    self._woken.clear()
                    await self._woken.wait()
