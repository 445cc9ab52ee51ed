"""A shared cache that may go away: meanwhile each process is on its own."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

from nms.common.cache.bucket import Booking, Bucket
from nms.common.cache.local import LocalCache
from nms.common.problem import Unavailable

if TYPE_CHECKING:
    from nms.common.cache.cache import Cache

log = logging.getLogger(__name__)

T = TypeVar("T")
STALE_KEYS = 10_000


class CacheStale(Unavailable):
    """Too much was changed while the shared cache was away to tell which of its values still hold."""

    code, title = "cache-stale", "The shared cache holds old values"
    remedy = "Empty the Redis of REDIS_DSN and restart; values there also end by themselves."


class DegradingCache:
    """Uses the shared cache, and this process's own while that one is away.

    Values read as missing meanwhile; what is set or deleted meanwhile is deleted in the shared cache, before it is
    read again. `check` and `subscribe` tell that it is away.
    """

    def __init__(self, shared: "Cache", own: LocalCache) -> None:
        self._shared = shared
        self._own = own
        self._stale: set[str] = set()
        self._away = False

    async def check(self) -> None:
        """Raise the problem of the shared cache."""
        await self._shared.check()

    async def close(self) -> None:
        """Close both."""
        await self._shared.close()
        await self._own.close()

    async def get(self, key: str) -> bytes | None:
        """The value, or None; None while the shared cache is away."""

        async def miss() -> bytes | None:
            return None

        return await self._either(lambda: self._shared.get(key), miss)

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value."""
        await self._either(lambda: self._shared.set(key, value, ttl), lambda: self._mark(key))

    async def delete(self, key: str) -> None:
        """Forget a value, also when the shared cache is away just now."""
        await self._either(lambda: self._shared.delete(key), lambda: self._mark(key))

    async def incr(self, key: str, ttl: float, by: int = 1) -> int:
        """Count up; per process while the shared cache is away."""
        return await self._either(lambda: self._shared.incr(key, ttl, by), lambda: self._own.incr(key, ttl, by))

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        """Book tokens; of a bucket per process while the shared cache is away."""
        return await self._either(
            lambda: self._shared.book(bucket, amount, ahead), lambda: self._own.book(bucket, amount, ahead)
        )

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Let no token go; of this process while the shared cache is away."""
        await self._either(lambda: self._shared.hold(bucket, seconds), lambda: self._own.hold(bucket, seconds))

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell whoever listens now; nobody hears it while the shared cache is away."""

        async def drop() -> None:
            return None

        await self._either(lambda: self._shared.publish(channel, message), drop)

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Listen on the shared cache; raises its problem when it is away."""
        return self._shared.subscribe(channel)

    async def _mark(self, key: str) -> None:
        if len(self._stale) >= STALE_KEYS and key not in self._stale:
            raise CacheStale("More values changed than can be remembered while Redis is away.")
        self._stale.add(key)

    async def _either(self, shared: Callable[[], Awaitable[T]], own: Callable[[], Awaitable[T]]) -> T:
        try:
            while self._stale:
                key = next(iter(self._stale))
                await self._shared.delete(key)
                self._stale.discard(key)
            answer = await shared()
        except CacheStale:
            raise
        except Unavailable as problem:
            if not self._away:
                log.warning("the shared cache is away, this process is on its own: %s", problem.code)
            self._away = True
            return await own()
        if self._away:
            log.warning("the shared cache is back")
            self._away = False
        return answer
