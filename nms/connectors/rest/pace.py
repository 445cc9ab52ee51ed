"""How fast a system may be asked: one budget for all workers of all processes, and holds that the remote asks for."""

import asyncio
from hashlib import sha256
from typing import Final

from nms.common import clock
from nms.common.budget import AHEAD, Budget
from nms.common.cache.bucket import Bucket
from nms.common.document.rest import RestSystem
from nms.common.egress.exchange import Answer
from nms.common.rate_advice import Wait, pause, read_allowed, read_wait
from nms.connectors.rest.problems import RemoteLimited

LONGEST_HOLD: Final = 3_600.0
"""A remote is left alone at most this long (seconds), then it is asked whether it still means it."""
PATIENCE: Final = 60.0
"""A longer wait is told as a Problem, and waited for by whoever opens the pipeline anew."""
PEEK_SECONDS: Final = 1.0
"""A system without a rate looks this often whether another process was told to wait."""
STEP: Final = 0.05


class Pace:
    """Gives turns; `waiting` is until when (monotonic seconds) the requests under way wait, 0 while none does."""

    def __init__(self, system: RestSystem, origin: str) -> None:
        self.origin = origin
        self.waits = 0
        self.limited = 0
        self.waiting = 0.0
        self._rate = system.rate
        self._bucket = bucket_of(system)
        self._free_at = 0.0
        self._peeked = -PEEK_SECONDS
        self._peeking = asyncio.Lock()

    async def turn(self, budget: Budget) -> None:
        """Wait for one's turn; raises RemoteLimited when it is more than a minute away, and Unavailable."""
        while (wait := await self._left(budget)) is not None:
            if wait > max(PATIENCE, 2.0 / self._bucket.rate):
                raise self.told(wait)
            await self._sleep(wait)

    async def hold(self, budget: Budget, answer: Answer, attempt: int) -> Wait:
        """Let nobody ask for as long as the answer to attempt 1, 2, ... wants, else with a growing pause of our own."""
        self.limited += 1
        told = read_wait(answer.headers, clock.now(), LONGEST_HOLD)
        seconds = pause(attempt, told, base=0.5, cap=30.0)
        await self._hold(budget, seconds)
        return Wait(seconds, seconds if told is None else told.asked)

    async def heed(self, budget: Budget, answer: Answer) -> None:
        """Hold also after a good answer that says the quota is used up, where our own rate does not wait as long."""
        if "limit" not in "".join(answer.headers):
            return
        spent = [one.reset for one in read_allowed(answer.headers, clock.now()) if one.remaining == 0 and one.reset]
        seconds = min(max(spent, default=0.0), LONGEST_HOLD)
        if seconds > (0.0 if self._rate is None else self._rate.per):
            await self._hold(budget, seconds)

    def told(self, seconds: float) -> RemoteLimited:
        """The Problem of a wait that is too long to be waited for here."""
        return RemoteLimited(
            f"{self.origin} wants to be left alone for {seconds:.0f} s.", origin=self.origin, wait=round(seconds, 1)
        )

    async def _left(self, budget: Budget) -> float | None:
        """Seconds until to ask again, None when it is one's turn; a turn that was booked has been waited for."""
        if self._rate is None:
            await self._peek(budget)
        now = clock.monotonic()
        if now < self._free_at:
            return self._free_at - now
        if self._rate is None:
            return None
        booking = await budget.book(self._bucket)
        if booking.granted:
            if booking.wait:
                await self._sleep(booking.wait)
            return None
        return max(STEP, booking.wait - AHEAD / 2)

    async def _peek(self, budget: Budget) -> None:
        """See whether another process was told to wait; who comes meanwhile waits for what is seen."""
        async with self._peeking:
            if clock.monotonic() < self._peeked + PEEK_SECONDS:
                return
            booking = await budget.book(self._bucket)
            self._peeked = clock.monotonic()
            self._free_at = max(self._free_at, self._peeked + booking.wait)

    async def _hold(self, budget: Budget, seconds: float) -> None:
        self._free_at = max(self._free_at, clock.monotonic() + seconds)
        await budget.hold(self._bucket, seconds)

    async def _sleep(self, seconds: float) -> None:
        self.waits += 1
        self.waiting = max(self.waiting, clock.monotonic() + seconds)
        await asyncio.sleep(seconds)


def bucket_of(system: RestSystem) -> Bucket:
    """The bucket that all processes share for a system at its place; one without a rate is only ever held."""
    name = f"rest:{system.name}:{sha256(system.url.encode()).hexdigest()[:16]}"
    if system.rate is None:
        return Bucket(name, 1e6, 1e6)
    return Bucket.of_limit(name, system.rate.limit, system.rate.per)
