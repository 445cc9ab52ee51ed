"""The cache in Redis, shared by all processes; a connection whose command was cut short is never used again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from nms.common import clock
from nms.common.problem import Unavailable

log = logging.getLogger(__name__)

SECONDS = 1.0
CONNECTIONS = 16
REST_SECONDS = 1.0
"""After a failure Redis is left alone this long, so that a cache that is away does not slow every call."""
ERRORS = (RedisError, OSError, asyncio.IncompleteReadError, ValueError)

_INCR = """
local count = redis.call('incrby', KEYS[1], ARGV[1])
if count == tonumber(ARGV[1]) then redis.call('pexpire', KEYS[1], ARGV[2]) end
return count
"""
_TAKE = """
local rate, burst, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local state = redis.call('hmget', KEYS[1], 'tokens', 'at')
local tokens = tonumber(state[1]) or burst
local at = tonumber(state[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
local wait = 0
if tokens >= amount then tokens = tokens - amount else wait = (amount - tokens) / rate end
redis.call('hset', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('pexpire', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return string.format('%.6f', wait)
"""


class CacheUnavailable(Unavailable):
    """Redis does not answer."""

    code, title = "cache-unavailable", "Redis does not answer"
    remedy = "It is tried again by itself; look whether the Redis of REDIS_DSN runs and lets this login in."


class RedisCache:
    """Keys and channels stand under `nms:`; every command ends within a second, else raises CacheUnavailable."""

    def __init__(self, dsn: str) -> None:
        self._pool: Any = BlockingConnectionPool.from_url(
            dsn, max_connections=CONNECTIONS, timeout=SECONDS, socket_connect_timeout=SECONDS, socket_timeout=SECONDS
        )
        self._rests_until = 0.0

    async def check(self) -> None:
        """Raise CacheUnavailable when Redis does not answer."""
        self._rests_until = 0.0
        await self._call("PING")

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.disconnect()

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        found = await self._call("GET", _named(key))
        return None if found is None else bytes(found)

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds at most."""
        await self._call("SET", _named(key), value, "PX", max(1, round(ttl * 1000)))

    async def delete(self, key: str) -> None:
        """Forget a value."""
        await self._call("DEL", _named(key))

    async def incr(self, key: str, ttl: float, by: int = 1) -> int:
        """Count up; the first count sets the time to live."""
        return int(await self._call("EVAL", _INCR, 1, _named(key), by, max(1, round(ttl * 1000))))

    async def take(self, bucket: str, rate: float, burst: float, amount: float = 1.0) -> float:
        """Take tokens by Redis' own clock, or give the seconds until there are enough."""
        if amount > burst:
            raise ValueError(f"a bucket of {burst} never holds {amount} tokens")
        return float(await self._call("EVAL", _TAKE, 1, _named(f"bucket:{bucket}"), rate, burst, amount))

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell whoever listens now."""
        await self._call("PUBLISH", _named(channel), message)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Listen on a connection of its own; raises CacheUnavailable when it breaks."""
        client = Redis(connection_pool=self._pool)
        listener = client.pubsub(ignore_subscribe_messages=True)
        try:
            await _translated(listener.subscribe(_named(channel)))
            await _translated(listener.ping())
            yield _messages(listener)
        finally:
            await listener.aclose()  # type: ignore[no-untyped-call]

    async def _call(self, *command: Any) -> Any:
        if clock.monotonic() < self._rests_until:
            raise CacheUnavailable("Redis did not answer a moment ago.")
        try:
            async with asyncio.timeout(SECONDS):
                return await self._call_once(*command)
        except ResponseError as error:
            if isinstance(error, AuthenticationError) or str(error).startswith(("NOAUTH", "NOPERM", "LOADING")):
                raise CacheUnavailable("Redis does not let us in.") from error
            raise
        except ERRORS as error:
            self._rests_until = clock.monotonic() + REST_SECONDS
            raise CacheUnavailable("Redis does not answer.") from error

    async def _call_once(self, *command: Any) -> Any:
        connection = await self._pool.get_connection()
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        except ResponseError:
            raise
        except BaseException:
            # The answer may still come: on a connection that is used again the next caller would get it.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)


def _named(key: str) -> str:
    return f"nms:{key}"


async def _translated(answer: Any) -> Any:
    try:
        async with asyncio.timeout(SECONDS):
            return await answer
    except ERRORS as error:
        raise CacheUnavailable("Redis does not answer.") from error


async def _messages(listener: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            found = await listener.get_message(timeout=5.0)
        except ERRORS as error:
            raise CacheUnavailable("Redis does not answer.") from error
        if found is not None and found["type"] == "message":
            yield bytes(found["data"])
