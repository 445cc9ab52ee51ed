"""Waiting for a state with a deadline, instead of sleeping."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = 90.0
"""Seconds until a state that does not come is told: no promise, a machine may be slow. A promise names its seconds."""
SHORTEST, LONGEST, GROWTH = 0.02, 0.1, 1.1

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
    """The first true answer of `look`; fails with its last answer when none comes in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    pause = SHORTEST
    while True:
        answer = await look()
        if answer:
            return answer
        if loop.time() > deadline:
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
