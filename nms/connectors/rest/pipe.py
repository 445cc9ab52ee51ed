"""A pipe between two tasks: what is fetched waits until it is taken, bounded in bytes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that takes memory."""

    @property
    def size(self) -> int:
        """About how many bytes."""
        ...


Item = TypeVar("Item", bound=Sized)


class Pipe(Generic[Item]):
    """Runs a generator in a task of its own and hands over what it gave; it waits while more than `limit` bytes do."""

    def __init__(self, items: AsyncGenerator[Item, None], limit: int) -> None:
        self._items = items
        self._limit = limit
        self._held: deque[Item] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._fill())

    async def take(self, limit: int, least: int = 0, linger: float = 0.0) -> list[Item]:
        """What is there, the first at least and then up to so many bytes; nothing at the end. Raises what ended it.

        While less than `least` bytes are there, up to `linger` seconds are waited for more.
        """
        while not self._held and not self._task.done():
            self._news.clear()
            waiting = asyncio.ensure_future(self._news.wait())
            try:
                await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
        if self._bytes < least and linger and not self._task.done():
            await asyncio.wait({self._task}, timeout=linger)
        taken: list[Item] = []
        size = 0
        while self._held and (not taken or size + self._held[0].size <= limit):
            taken.append(self._held.popleft())
            size += taken[-1].size
        self._bytes -= size
        self._room.set()
        if not taken:
            self._task.result()
        return taken

    async def close(self) -> None:
        """End the task; safe to call twice."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._items.aclose()

    async def _fill(self) -> None:
        async for item in self._items:
            self._held.append(item)
            self._bytes += item.size
            self._news.set()
            while self._bytes > self._limit:
                self._room.clear()
                await self._room.wait()
