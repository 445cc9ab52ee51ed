"""The cache in Redis, shared by all processes; a connection whose command was cut short is never used again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from nms.common import clock
from nms.common.cache.bucket import INSTANT, Booking, Bucket
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
_NOW = """
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function keep(through)
    redis.call('set', KEYS[1], string.format('%.6f', through), 'px', math.ceil((through - now) * 1000) + 1000)
end
local free = tonumber(redis.call('get', KEYS[1])) or now
"""
# The same steps as `Bucket.book`, by Redis' own clock.
_BOOK = f"""{_NOW}
local span, depth, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local through = math.max(free, now) + span
local wait = through - depth - now
if wait < {INSTANT} then wait = 0 end
if wait <= ahead then keep(through) end
return {{wait <= ahead and 1 or 0, string.format('%.6f', wait)}}
"""
_HOLD = f"""{_NOW}
keep(math.max(free, now + tonumber(ARGV[1])))
"""


class CacheUnavailable(Unavailable):
    """Redis does not answer."""

    code, title = "cache-unavailable", "Redis does not answer"
    remedy = "It is tried again by itself; look whether the Redis of REDIS_DSN runs and lets this login in."


class RedisCache:
    """Keys stand under `nms:`, channels under that and the database's number.

    Every command ends within a second, else raises CacheUnavailable.
    """

    def __init__(self, dsn: str) -> None:
        self._pool: Any = BlockingConnectionPool.from_url(
            dsn, max_connections=CONNECTIONS, timeout=SECONDS, socket_connect_timeout=SECONDS, socket_timeout=SECONDS
        )
        # Redis has one space of channels for all its numbered databases.
        self._channels = f"nms:{self._pool.connection_kwargs.get('db', 0)}"
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

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        """Book tokens that come within `ahead` seconds, by Redis' own clock."""
        span, depth = bucket.spans(amount)
        granted, wait = await self._call("EVAL", _BOOK, 1, _named(f"bucket:{bucket.name}"), span, depth, ahead)
        return Booking(bool(granted), float(wait))

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Let no token go for `seconds`."""
        await self._call("EVAL", _HOLD, 1, _named(f"bucket:{bucket.name}"), bucket.held_until(seconds))

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell whoever listens now."""
        await self._call("PUBLISH", f"{self._channels}:{channel}", message)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Listen on a connection of its own; raises CacheUnavailable when it breaks."""
        client = Redis(connection_pool=self._pool)
        listener = client.pubsub()
        try:
            await _translated(listener.subscribe(f"{self._channels}:{channel}"))
            await _translated(_subscribed(listener))
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


async def _subscribed(listener: Any) -> None:
    # Sent is not taken: what is published on another connection might go before.
    while (found := await listener.get_message(timeout=SECONDS)) is None or found["type"] != "subscribe":
        pass


async def _messages(listener: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            found = await listener.get_message(timeout=5.0)
        except ERRORS as error:
            raise CacheUnavailable("Redis does not answer.") from error
        if found is not None and found["type"] == "message":
            yield bytes(found["data"])
