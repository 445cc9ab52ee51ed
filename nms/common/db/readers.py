"""Connections for short reads: one statement each, without what a pool does around it.

A pool of asyncpg makes a task to take a connection back, and that costs as much as the statement of a hot read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from nms.common.db.dsn import DSNType
from nms.common.db.pool import MAX_SIZE, Connection, connect
from nms.common.db.problems import translated

Given: TypeAlias = "Connection | None"
CLOSE_SECONDS = 5.0
SETTINGS = {
    "default_transaction_read_only": "on",
    # Texts of values are cursors: they must not depend on how a server is set up.
    "datestyle": "ISO, MDY",
    "extra_float_digits": "1",
    # Short reads of many callers gain nothing by either, and wait for both.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


class Readers:
    """At most `size` connections to a database that only read, opened when they are needed; of one event loop.

    A statement takes at most so many seconds. The connection that was used last is used next. `opened` is called for
    each new one, before anything comes over it.
    """

    def __init__(
        self, kind: DSNType, seconds: float, size: int = MAX_SIZE, opened: Callable[[], None] = lambda: None
    ) -> None:
        self._kind, self._size, self._opened = kind, size, opened
        self._settings = {**SETTINGS, "statement_timeout": f"{max(1, round(seconds * 1000))}ms"}
        self._free: list[Connection] = []
        self._waiting: deque[asyncio.Future[Given]] = deque()
        self._open = 0
        self._closed = False

    async def fetch_row(self, text: str, *values: Any) -> Any:
        """The first row of a statement, or None; raises Problems of the database."""
        with translated():
            connection = await self._take()
            try:
                return await connection.fetchrow(text, *values)
            finally:
                self._give_back(connection)

    async def close(self) -> None:
        """Close what is free now; what is under way is closed when it is given back."""
        self._closed = True
        while self._free:
            with suppress(Exception):
                await self._free.pop().close(timeout=CLOSE_SECONDS)

    async def _take(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._open < self._size:
            return await self._connect()
        waiter: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            given = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._pass_on(waiter.result())
            raise
        return given if given is not None else await self._take()

    async def _connect(self) -> Connection:
        self._open += 1
        try:
            connection = await connect(self._kind, self._settings)
            self._opened()
            return connection
        except BaseException:
            self._open -= 1
            self._pass_on(None)
            raise

    def _give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.terminate()
        if connection.is_closed():
            self._open -= 1
            self._pass_on(None)
        else:
            self._pass_on(connection)

    def _pass_on(self, connection: Given) -> None:
        """Give a connection, or the place of one that is gone, to who waits longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is not None:
            self._free.append(connection)
