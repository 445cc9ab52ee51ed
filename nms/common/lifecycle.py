"""The life of a role: its resources, its background work, and a stop that everyone hears of at once."""

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from fastapi import FastAPI

from nms.common import clock, metrics
from nms.common.db.pool import close_pools
from nms.common.egress.shared import close_egress
from nms.common.problem import Problem, Retry

STOP_SECONDS = 10.0
"""How long background work may take to put down what it holds before it is cancelled."""

Resource = Callable[[FastAPI], AbstractAsyncContextManager[Any]]
Work = Callable[[asyncio.Event], Awaitable[None]]
"""Background work: runs until the event is set, then returns."""

_log = logging.getLogger(__name__)
_living: Counter[int] = Counter()


class WorkerDown(Problem):
    """The background work of this process failed and waits to be started again."""

    status, code, retry, title = 503, "worker-down", Retry.LATER, "The background work is not running"
    remedy = "It is started again by itself; the log of this process says why it failed."


class Life:
    """Enters the resources of a role in order, keeps its background work running, and leaves in reverse.

    `stop` is set as soon as the process is told to stop: an endless answer (SSE) ends then, since a server waits
    for its answers before it leaves the lifespan.
    """

    def __init__(self, resources: Sequence[Resource], work: Work | None) -> None:
        self.work = work
        self.stop = asyncio.Event()
        self._resources = resources
        self._failed = False

    @asynccontextmanager
    async def lived(self, app: FastAPI) -> AsyncIterator[None]:
        """One life, from start to stop; the last role of an event loop closes the pools."""
        self.stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        if type(loop).__module__.partition(".")[0] != "uvloop":
            _log.warning("the event loop is not uvloop: requests take up to 3.5 times as long")
        here = id(loop)
        _living[here] += 1
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(_hearing_signals(self.stop))
                for resource in self._resources:
                    await stack.enter_async_context(resource(app))
                if self.work is not None:
                    stack.push_async_callback(_put_down, asyncio.create_task(self._keep_working(), name="worker"))
                stack.callback(self.stop.set)
                yield
        finally:
            _living[here] -= 1
            if not _living[here]:
                del _living[here]
                await close_egress()
                await close_pools()
                metrics.leave()

    async def probe(self) -> None:
        """Raise WorkerDown while the background work is not running."""
        if self._failed:
            raise WorkerDown("The background work failed and waits to be started again.")

    async def _keep_working(self) -> None:
        assert self.work is not None
        attempt = 0
        while not self.stop.is_set():
            try:
                self._failed = False
                await self.work(self.stop)
            except Problem as problem:
                facts = {"code": problem.code, "remedy": problem.remedy}
                _log.error("the background work is started again: %s", problem.detail, extra=facts)
            except Exception:
                _log.exception("the background work failed and is started again")
            if self.stop.is_set():
                return
            attempt += 1
            self._failed = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), clock.backoff(attempt, base=1, cap=30))


async def _put_down(task: asyncio.Task[None]) -> None:
    _, late = await asyncio.wait([task], timeout=STOP_SECONDS)
    if late:
        _log.warning("the background work did not stop within %s s and is cancelled", STOP_SECONDS)
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        _log.error("the background work failed while stopping", exc_info=task.exception())


@contextmanager
def _hearing_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT, and pass the signal on to the server that listened before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def hear(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(stop.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    heard = [number for number, handler in before.items() if callable(handler)]
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            if signal.getsignal(number) is hear:
                signal.signal(number, before[number])
