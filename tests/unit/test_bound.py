"""The bound of a test ends what would wait for ever, and nothing else."""

import asyncio

import pytest

from tests.bound import bounded


async def test_what_waits_for_ever_is_ended_where_it_waits() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as ended:
        await bounded(wait, 0.01)()
    assert isinstance(ended.value.__context__, asyncio.CancelledError)


async def test_what_ends_in_time_is_left_alone() -> None:
    seen: list[int] = []

    async def note(value: int) -> None:
        seen.append(value)

    await bounded(note, 60)(7)
    assert seen == [7]
