"""Waiting for whatever comes first, and for the end."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


async def first_of(*events: asyncio.Event, timeout: float) -> bool:
    """Wait until one of these is set or the seconds are over; gives whether one is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()


def is_cancelled() -> bool:
    """Whether the task that asks is to end: an error of what it puts down then takes the place of its cancellation."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:  # noqa: TID251
    """A task group whose failure leaves no cancellation behind; raises what `asyncio.TaskGroup` raises.

    Before Python 3.13 a task whose group failed counts as cancelled for ever: its next error would end it unheard.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        async with asyncio.TaskGroup() as group:  # noqa: TID251
            yield group
    except BaseExceptionGroup:
        while sys.version_info < (3, 13) and task.cancelling() > before:
            task.uncancel()
        raise
