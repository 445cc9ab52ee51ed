"""Events under way to a broker: many at once, and never two of one key."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

Key = tuple[str, bytes]
COUNT, BYTES = 500, 8 << 20


class Window:
    """Sends at most so many events and bytes at a time; the next event of a key waits until the one before is safe.

    Were both under way, the broker could refuse the first and take the second, and the first would come again behind
    it: that would be the wrong order for whoever remembers ids.
    """

    def __init__(self, *, count: int = COUNT, size: int = BYTES) -> None:
        self._count = count
        self._size = size
        self._bytes = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lanes: dict[Key, asyncio.Task[Any]] = {}
        self._ended = asyncio.Event()
        self._error: BaseException | None = None

    async def send(self, keys: Iterable[Key], size: int, publish: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Send an event of these keys once there is room and they are free; raises what an earlier one failed with."""
        keys = tuple(keys)
        while len(self._tasks) >= self._count or (self._tasks and self._bytes + size > self._size) or self._busy(keys):
            await self._next()
        self._raise()
        task = asyncio.create_task(publish())
        self._tasks.add(task)
        self._bytes += size
        self._lanes.update(dict.fromkeys(keys, task))
        task.add_done_callback(lambda done: self._end(done, keys, size))

    async def settle(self) -> None:
        """Wait until all is safe; raises what one failed with."""
        while self._tasks:
            await self._next()
        self._raise()

    async def drop(self) -> None:
        """Wait for nothing any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    def _busy(self, keys: Iterable[Key]) -> bool:
        return any(key in self._lanes for key in keys)

    async def _next(self) -> None:
        self._raise()
        self._ended.clear()
        await self._ended.wait()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self, task: asyncio.Task[Any], keys: Iterable[Key], size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size
        for key in keys:
            self._lanes.pop(key, None)
        if not task.cancelled() and task.exception() is not None and self._error is None:
            self._error = task.exception()
        self._ended.set()
