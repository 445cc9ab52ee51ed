"""Token buckets, kept as one moment each: when all that was booked so far will be through (GCRA, ITU-T I.371)."""

from dataclasses import dataclass
from typing import Self

INSTANT = 5e-6
"""A wait shorter than this is none: what is left of adding and subtracting moments."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that refills by `rate` tokens a second up to `burst`."""

    name: str
    rate: float
    burst: float = 1.0

    @classmethod
    def of_limit(cls, name: str, limit: float, seconds: float = 1.0) -> Self:
        """For a remote that takes `limit` requests in any `seconds`, counted its way.

        Burst and rate together stay 1 % below the limit in every such span, however it is placed (a limit under 10
        is used to nine tenths): what was sent in time may arrive late and close to the next.
        """
        burst = max(1.0, 0.02 * limit)
        return cls(name, max(0.9 * limit, 0.99 * limit - burst) / seconds, burst)

    def book(self, free_at: float, now: float, amount: float, ahead: float) -> tuple["Booking", float]:
        """Book tokens in a bucket that is through at `free_at`: the booking, and when it is through then."""
        span, depth = self.spans(amount)
        through = max(free_at, now) + span
        wait = through - depth - now
        wait = wait if wait > INSTANT else 0.0
        return (Booking(True, wait), through) if wait <= ahead else (Booking(False, wait), free_at)

    def spans(self, amount: float) -> tuple[float, float]:
        """Seconds in which these tokens come, and in which the bucket fills; raises ValueError when they never fit."""
        if amount > self.burst:
            raise ValueError(f"a bucket of {self.burst} never holds {amount} tokens")
        return amount / self.rate, self.burst / self.rate

    def held_until(self, seconds: float) -> float:
        """Seconds from now until a bucket is through in which the next token comes in `seconds`."""
        return seconds + (self.burst - 1.0) / self.rate


@dataclass(frozen=True, slots=True)
class Booking:
    """Whether tokens are booked, and the seconds until they may be used; if not, until they would be there."""

    granted: bool
    wait: float
