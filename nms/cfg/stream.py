"""A watch as server-sent events (WHATWG HTML, section 9.2)."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nms.cfg.models import Notice, Selector
from nms.cfg.notices import Notices, Reader
from nms.cfg.problems import WatchersBusy
from nms.cfg.settings import CfgSettings
from nms.cfg.watch import find_start, watch
from nms.common.clock import monotonic
from nms.common.following import followed
from nms.common.guard import Guard
from nms.common.problem import Problem
from nms.common.settings import read_settings
from nms.common.web import stopping

log = logging.getLogger(__name__)

EVENTS: Final = "text/event-stream"
RETRY_MS: Final = 2_000
"""How long a browser waits before it comes again."""
PORTION: Final = 64 << 10
"""Characters that are sent at once."""
END_SECONDS = 10.0
"""How long one who was too slow may take to hear that."""
READERS: Final = Guard("config:read")


class Watches:
    """The watches of a process: what they read, how many there are, and how long they may be."""

    def __init__(self, notices: Notices, settings: CfgSettings) -> None:
        self.notices, self.settings = notices, settings
        self.count = 0

    async def open(self, request: Request, since: int | None, selector: Selector) -> "WatchStream":
        """The answer to one who watches; raises WatchersBusy and what `find_start` does."""
        if self.count >= self.settings.watchers:
            raise WatchersBusy(f"This process has {self.count} watchers already.", most=self.settings.watchers)
        place = await find_start(self.notices, since, self.settings.watch_revisions)
        return WatchStream(self, request, place, selector)


@asynccontextmanager
async def enter_watching(app: FastAPI) -> AsyncIterator[None]:
    """Give an app what its watchers are told, as long as it lives."""
    async with followed(Notices()) as notices:
        app.state.watches = Watches(notices, read_settings(CfgSettings))
        yield


class Over(Exception):
    """A watch ends, and why; who watches goes on at another one."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class WatchStream(Response):
    """Events `changed`, one for each document, and `ended` at the end, with the revision to go on from.

    Only the last event of a revision has its number as id: who is cut off before it hears all of the revision again.
    Where there is nothing to tell, an id comes alone now and then, so that nobody falls out of the window.
    """

    def __init__(self, watches: Watches, request: Request, place: int, selector: Selector) -> None:
        super().__init__(media_type=EVENTS, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._watches, self._request = watches, request
        self._place, self._selector = place, selector
        self._reader, self._gone = Reader(), asyncio.Event()
        self._until = monotonic() + watches.settings.watch_seconds

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Tell until the reader goes or is too slow, the process stops, the token is over or it was long enough."""
        self._watches.count += 1
        beside = [asyncio.create_task(self._await_leave(receive)), asyncio.create_task(self._await_stop())]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                await self._tell(send)
            except Over as over:
                await self._end(send, over)
        finally:
            self._watches.count -= 1
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _tell(self, send: Send) -> None:
        await self._send(send, f"retry: {RETRY_MS}\n\n")
        place, beat = (self._place, self._selector), self._watches.settings.watch_beat
        try:
            async with aclosing(watch(self._watches.notices, self._reader, place, beat)) as portions:
                async for done, found in portions:
                    if self._gone.is_set():
                        return
                    await self._check()
                    for revision, text in _write(done, found):
                        await self._send(send, text)
                        self._place = revision
        except Problem as problem:
            raise Over(problem.code, problem.detail) from problem

    async def _check(self) -> None:
        if stopping(self._request).is_set():
            raise Over("stopping", "This process stops; another one goes on.")
        if monotonic() > self._until:
            raise Over("time-over", f"A watch lasts {self._watches.settings.watch_seconds:g} s.")
        # A token may be over or revoked since the watch began.
        if READERS.recall(self._request.scope) is None:
            await READERS(self._request)

    async def _send(self, send: Send, text: str) -> None:
        seconds = self._watches.settings.watch_patience
        try:
            async with asyncio.timeout(seconds):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        except TimeoutError:
            raise Over("reader-slow", f"Nothing was read for {seconds:g} s.") from None

    async def _end(self, send: Send, over: Over) -> None:
        """Say why, to who still listens; one who does not is cut off."""
        log.info("a watch ends: %s", over.reason, extra={"since": self._place})
        told = {"reason": over.reason, "detail": over.detail, "since": self._place}
        text = f"event: ended\ndata: {json.dumps(told)}\n\n"
        try:
            async with asyncio.timeout(END_SECONDS):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": False})
        except TimeoutError:
            return

    async def _await_leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        self._reader.wake.set()

    async def _await_stop(self) -> None:
        await stopping(self._request).wait()
        self._reader.wake.set()


def _write(done: int, found: Sequence[Notice]) -> Iterator[tuple[int, str]]:
    """Texts to be sent one by one, each with the revision up to which all is told by then."""
    if not found:
        yield done, f": nothing new\nid: {done}\n\n"
        return
    parts, size = list[str](), 0
    for notice, following in zip(found, (*found[1:], None), strict=True):
        last = following is None or following.revision != notice.revision
        place = f"id: {notice.revision}\n" if last else ""
        parts.append(f"event: changed\n{place}data: {notice.text}\n\n")
        size += len(parts[-1])
        if following is None or (size > PORTION and last):
            yield notice.revision, "".join(parts)
            parts, size = [], 0
