"""What is fetched waits for whoever takes it: bounded, at once where it is enough, a moment where it is little."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from nms.connectors.rest.pipe import Pipe

LONG = 60.0


@dataclass(frozen=True)
class Item:
    size: int


async def items(*sizes: int) -> AsyncGenerator[Item, None]:
    for size in sizes:
        await asyncio.sleep(0)
        yield Item(size)


async def endless(size: int) -> AsyncGenerator[Item, None]:
    while True:
        await asyncio.sleep(0)
        yield Item(size)


async def test_little_waits_for_more_and_an_end_ends_the_wait() -> None:
    pipe = Pipe(items(1, 1, 1), 100)
    async with asyncio.timeout(LONG / 2):
        assert len(await pipe.take(100, least=50, linger=LONG)) == 3
        assert await pipe.take(100, least=50, linger=LONG) == []
    await pipe.close()


async def test_little_is_handed_over_when_nothing_more_comes_in_time() -> None:
    async def stuck() -> AsyncGenerator[Item, None]:
        yield Item(1)
        await asyncio.Event().wait()

    pipe = Pipe(stuck(), 100)
    assert await pipe.take(100, least=50, linger=0.01) == [Item(1)]
    await pipe.close()


async def test_what_is_enough_is_handed_over_at_once() -> None:
    pipe = Pipe(endless(60), 100)
    async with asyncio.timeout(LONG / 2):
        for _ in range(3):
            assert await pipe.take(60, least=50, linger=LONG) == [Item(60)]
    await pipe.close()


async def test_what_ended_the_fetching_is_raised_when_all_was_taken() -> None:
    async def failing() -> AsyncGenerator[Item, None]:
        yield Item(1)
        raise LookupError

    pipe = Pipe(failing(), 100)
    assert await pipe.take(100, least=50, linger=LONG) == [Item(1)]
    with pytest.raises(LookupError):
        await pipe.take(100, least=50, linger=LONG)
    await pipe.close()
