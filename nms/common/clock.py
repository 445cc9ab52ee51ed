"""Time and chance: the only two things that tests replace."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

Seconds = Callable[[], float]
"""A clock that never goes back, in seconds, such as `time.monotonic`."""

monotonic: Seconds = time.monotonic


def now() -> datetime:
    """This moment in UTC; what two processes compare is taken from the database clock instead."""
    return datetime.now(UTC)


def backoff(attempt: int, *, base: float, cap: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after failed attempt 1, 2, ...: doubling from `base` to `cap`, the upper half jittered.

    Never less than half the step, so that a crowd spreads and yet nobody comes back at once.
    """
    step = min(cap, base * 2.0 ** min(max(attempt, 1) - 1, 60))
    return step * (0.5 + 0.5 * chance())
