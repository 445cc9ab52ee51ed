"""Pools: one per process and DSN, made on first use."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, TypeAlias

import asyncpg

from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.problems import translated
from nms.common.settings import get_settings

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

MIN_SIZE, MAX_SIZE, APART_SIZE = 1, 10, 3
SERVER_SETTINGS = {"application_name": "nms", "timezone": "UTC"}
CONNECT_SECONDS, ACQUIRE_SECONDS, COMMAND_SECONDS = 10.0, 30.0, 60.0

_pools: dict[tuple[int, str, str], asyncio.Task[Pool]] = {}


async def get_pool(kind: DSNType) -> Pool:
    """The pool of a database; callers that come together get the same one.

    Its connections are not reset between uses (that costs a round trip each time): use `set local`, and take
    a connection of your own for `listen` and for session locks. Raises DatabaseUnavailable, DatabaseRefused.
    """
    return await get_pool_of(dsn_of(kind, get_settings()))


async def get_pool_of(dsn: str, apart: str = "") -> Pool:
    """The pool of a checked DSN, for this event loop; `apart` names a small one for what must not wait for requests."""
    return await _get(dsn, apart, APART_SIZE if apart else MAX_SIZE)


async def _get(dsn: str, apart: str, size: int) -> Pool:
    key = (id(asyncio.get_running_loop()), dsn, apart)
    task = _pools.get(key)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        task = _pools[key] = asyncio.create_task(_open(dsn, size), name="open-pool")
    if task.done():
        return task.result()
    # A caller who goes away must not take the pool from the others.
    return await asyncio.shield(task)


async def _open(dsn: str, size: int) -> Pool:
    with translated():
        return await asyncpg.create_pool(
            dsn,
            min_size=MIN_SIZE,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            init=prepare_connection,
            reset=_keep,
            server_settings=SERVER_SETTINGS,
        )


async def connect(kind: DSNType, more: Mapping[str, str] = MappingProxyType({})) -> Connection:
    """A connection of your own: for `listen` and session locks, or, with more settings, for short statements."""
    with translated():
        connection = await asyncpg.connect(
            dsn_of(kind, get_settings()),
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS if more else None,
            server_settings={**SERVER_SETTINGS, **more},
        )
        try:
            await prepare_connection(connection)
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _keep(connection: Any) -> None:
    """Nothing to do: asyncpg has rolled back what was open before it calls this."""


async def prepare_connection(connection: Any) -> None:
    """Teach a connection to read and write `json` and `jsonb` as Python values."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=_to_json, decoder=json.loads, format="text")


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def close_pools() -> None:
    """Close every pool of this event loop; one that does not close within 10 s is cut off."""
    here = id(asyncio.get_running_loop())
    for key in [key for key in _pools if key[0] == here]:
        task = _pools.pop(key)
        if not task.done():
            task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            pool = await task
            try:
                await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
            except TimeoutError:
                pool.terminate()
