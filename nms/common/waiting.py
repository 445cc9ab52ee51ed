"""Waiting for whatever comes first, and for the end."""

import asyncio


async def first_of(*events: asyncio.Event, timeout: float) -> bool:
    """Wait until one of the events is set, at most `timeout` seconds; tells whether one is."""
    waits = [asyncio.create_task(event.wait()) for event in events]
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
