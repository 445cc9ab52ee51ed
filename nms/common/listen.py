"""Hearing PostgreSQL's notifications: a hint that saves waiting, never the only way to learn something."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import asyncpg

from nms.common.clock import backoff
from nms.common.db.problems import DRIVER_ERRORS
from nms.common.waiting import is_cancelled

log = logging.getLogger(__name__)


async def listen(source: Any, channel: str, hear: Callable[[str], None]) -> None:
    """Call `hear` with the payload of each notification until cancelled, and with "" after each (re)connect.

    `source` is a pool, of which one connection is kept; with anything else this returns and its caller polls.
    """
    if not isinstance(source, asyncpg.Pool):
        return
    failures = 0
    while True:
        try:
            await _listen_once(source, channel, hear)
            failures = 0
        except DRIVER_ERRORS as error:
            if is_cancelled():
                # The session ended while it was told to hear no more; whoever stopped us waits.
                raise asyncio.CancelledError from error
            log.warning("cannot listen on %s: %s", channel, type(error).__name__)
        failures += 1
        await asyncio.sleep(backoff(failures, base=0.2, cap=5.0))


async def _listen_once(pool: Any, channel: str, hear: Callable[[str], None]) -> None:
    closed = asyncio.Event()

    def on_notify(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        hear(str(payload))

    def on_close(_connection: object) -> None:
        closed.set()

    async with pool.acquire() as connection:
        connection.add_termination_listener(on_close)
        await connection.add_listener(channel, on_notify)
        try:
            hear("")
            await closed.wait()
        finally:
            connection.remove_termination_listener(on_close)
            if not connection.is_closed():
                await connection.remove_listener(channel, on_notify)
