"""What hangs fails, by its name and at its line, long before a run as a whole is given up.

pytest-timeout ends a test, and can only say that the event loop was waiting. A coroutine is therefore cancelled a
little earlier: its traceback ends at the await that did not return.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable

import pytest

EARLIER = 0.8


def bound(item: pytest.Item, seconds: float) -> None:
    """Let the coroutine of a test run so long that the time-out of the test is not reached."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = bounded(item.obj, seconds * EARLIER)


def bounded(run: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(run)
    async def within(*args: object, **kwargs: object) -> None:
        async with asyncio.timeout(seconds):
            await run(*args, **kwargs)

    return within
