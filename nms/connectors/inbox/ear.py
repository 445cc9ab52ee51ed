"""One connection of the process hears of new events, for all pipelines that read them."""

import asyncio

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.listen import listen

CHANNEL = "nms_inbox"


class Ear:
    """Sets the events of all who listen whenever something was stored; also when it may have missed that."""

    def __init__(self) -> None:
        self._wakes: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def lend(self, wake: asyncio.Event) -> None:
        """Begin to set this event."""
        self._wakes.add(wake)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="listen-inbox")

    async def leave(self, wake: asyncio.Event) -> None:
        """Set this event no more; with the last one the connection is given back. Safe to call twice."""
        self._wakes.discard(wake)
        if not self._wakes and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        await listen(await get_pool(DSNType.NMS), CHANNEL, lambda _: self._ring())

    def _ring(self) -> None:
        for wake in self._wakes:
            wake.set()


_ears: dict[int, Ear] = {}


def own_ear() -> Ear:
    """The ear of this event loop."""
    return _ears.setdefault(id(asyncio.get_running_loop()), Ear())
