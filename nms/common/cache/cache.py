"""The cache as rooms see it, and which one this process uses. It holds only what may vanish."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Protocol

from nms.common.cache.bucket import Booking, Bucket
from nms.common.cache.degrading import DegradingCache
from nms.common.cache.local import LocalCache
from nms.common.settings import Settings


class Cache(Protocol):
    """Values, counters, token buckets and messages; keys are text, values bytes, times seconds."""

    async def check(self) -> None:
        """Raise a Problem when the cache does not answer."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds at most."""

    async def delete(self, key: str) -> None:
        """Forget a value."""

    async def incr(self, key: str, ttl: float, by: int = 1) -> int:
        """Count up; the first count lives for `ttl` seconds, and later ones do not prolong it."""

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        """Book tokens of a bucket that come within `ahead` seconds; nothing is taken when they come later.

        Each booking is for tokens of its own, in order: nobody has to ask again when its time is there. `amount`
        above the burst raises ValueError.
        """

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Let no token go for `seconds`; what was booked before stays booked."""

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell whoever listens now; a slow listener loses its oldest messages."""

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Listen: messages published after the block was entered."""

    async def close(self) -> None:
        """Give back connections."""


def open_cache(settings: Settings) -> Cache:
    """Redis when REDIS_DSN is set (its client is imported only then), else a cache in this process.

    While Redis is away each process is on its own: values are misses, counters and budgets are per process.
    """
    if settings.redis_dsn is None:
        return LocalCache()
    module = import_module("nms.common.cache.redis")
    shared: Cache = module.RedisCache(settings.redis_dsn.get_secret_value())
    return DegradingCache(shared, LocalCache())
