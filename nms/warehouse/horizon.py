"""Whether a list can have an entity tag: only where no change that it does not show can be older than one it shows."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

MOST_LOOKS: Final = 20
"""Looks a second; under more writes than that lists go without a tag now and then, and no reader waits for it."""


class Horizon:
    """Up to which sequence everything was settled when it was last asked: `reached`.

    What is read by a later statement, and shows no newer change, is all that ever was up to its newest change: whatever
    comes after has a greater sequence. Later than the look: other requests move it on while a statement is under way.
    `ask` tells up to where everything is settled. After a crash of the database sequences that were rolled back come
    again: what was told before holds no longer, so whatever came over a new connection is held against a new look.
    `era` tells how often all was forgotten.
    """

    def __init__(self, ask: Callable[[], Awaitable[int]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._second, self._looks = -1, 0
        self.reached, self.era = -1, 0

    def forget(self) -> None:
        """Know nothing, until the next look."""
        self.reached, self.era = -1, self.era + 1

    async def advance(self) -> bool:
        """Look how far it reaches by now; False where that was done often enough in this second."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._looks = second, 0
        self._looks += 1
        if self._looks > MOST_LOOKS:
            return False
        era, settled = self.era, await self._ask()
        if era == self.era:
            self.reached = max(self.reached, settled)
        return True
