"""One connection of the process hears what a database tells on a channel, for all who wait for it."""

import asyncio

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.listen import listen


class Ear:
    """Sets the events of all who listen whenever something is told; also when it may have missed that."""

    def __init__(self, kind: DSNType, channel: str) -> None:
        self._kind, self._channel = kind, channel
        self._wakes: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def lend(self, wake: asyncio.Event) -> None:
        """Begin to set this event."""
        self._wakes.add(wake)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name=f"listen-{self._channel}")

    async def leave(self, wake: asyncio.Event) -> None:
        """Set this event no more; with the last one the connection is given back. Safe to call twice."""
        self._wakes.discard(wake)
        if not self._wakes and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        await listen(await get_pool(self._kind), self._channel, lambda _: self._ring())

    def _ring(self) -> None:
        for wake in self._wakes:
            wake.set()


_ears: dict[tuple[int, DSNType, str], Ear] = {}


def own_ear(kind: DSNType, channel: str) -> Ear:
    """The ear of this event loop for a channel."""
    return _ears.setdefault((id(asyncio.get_running_loop()), kind, channel), Ear(kind, channel))
