"""Who is cancelled while closing closes all the same: a connection that nobody closes keeps its locks."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nms.common.lease import Claimed
from nms.connectors.postgres.twoway.opening import TwoWayEnd
from nms.sync.worker import _until_stopped


class Closing:
    """Something to close: at once, or after a wait that nobody ends."""

    def __init__(self, *, waits: bool = False) -> None:
        self.waiting = asyncio.Event()
        self.closed = False
        self._waits = waits

    async def close(self) -> None:
        self.waiting.set()
        try:
            if self._waits:
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.closed = True


async def test_a_handler_that_is_cancelled_again_waits_until_its_work_has_closed() -> None:
    held, stopping = Closing(waits=True), asyncio.Event()

    async def work(_: Claimed) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await held.close()

    handling = asyncio.create_task(_until_stopped(cast(Claimed, SimpleNamespace(stopping=stopping)), work))
    await asyncio.sleep(0)
    stopping.set()
    await held.waiting.wait()
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert held.closed


async def test_a_two_way_end_closes_all_of_it_though_it_is_cancelled_meanwhile() -> None:
    feed, side, log = Closing(waits=True), Closing(), Closing()
    parts: Any = SimpleNamespace(feed=feed, side=side, log=log)
    closing = asyncio.create_task(
        TwoWayEnd(True, {}, parts.feed, parts.side, {}, {}, 1, "target", log=parts.log).close()
    )
    await feed.waiting.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert side.closed
    assert log.closed
