"""The cache in this process: bounded, the least recently used goes first."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nms.common import clock
from nms.common.cache.bucket import Booking, Bucket

ENTRIES = 10_000
BACKLOG = 1000


class LocalCache:
    """Keeps at most `entries` values; a value, a counter or a bucket may go earlier than its time."""

    def __init__(self, entries: int = ENTRIES, seconds: clock.Seconds = clock.monotonic) -> None:
        self._entries = entries
        self._seconds = seconds
        self._values: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._buckets: OrderedDict[str, float] = OrderedDict()
        self._listeners: dict[str, set[asyncio.Queue[bytes]]] = {}

    async def check(self) -> None:
        """It always answers."""

    async def close(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._buckets.clear()

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        found = self._values.get(key)
        if found is None:
            return None
        if found[1] <= self._seconds():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return found[0]

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds at most."""
        self._values[key] = (value, self._seconds() + ttl)
        self._values.move_to_end(key)
        while len(self._values) > self._entries:
            self._values.popitem(last=False)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        self._values.pop(key, None)

    async def incr(self, key: str, ttl: float, by: int = 1) -> int:
        """Count up; the first count sets the time to live."""
        now = self._seconds()
        value, until = self._values.get(key, (b"0", 0.0))
        count, until = (int(value) + by, until) if until > now else (by, now + ttl)
        await self.set(key, str(count).encode(), until - now)
        return count

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        """Book tokens that come within `ahead` seconds."""
        now = self._seconds()
        booking, free_at = bucket.book(self._buckets.pop(bucket.name, now), now, amount, ahead)
        self._keep(bucket, free_at)
        return booking

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Let no token go for `seconds`."""
        held = self._seconds() + bucket.held_until(seconds)
        self._keep(bucket, max(held, self._buckets.pop(bucket.name, held)))

    def _keep(self, bucket: Bucket, free_at: float) -> None:
        self._buckets[bucket.name] = free_at
        while len(self._buckets) > self._entries:
            self._buckets.popitem(last=False)

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell whoever listens now."""
        for queue in self._listeners.get(channel, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(message)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Listen to a channel."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        self._listeners.setdefault(channel, set()).add(queue)
        try:
            yield _drain(queue)
        finally:
            listeners = self._listeners[channel]
            listeners.discard(queue)
            if not listeners:
                del self._listeners[channel]


async def _drain(queue: "asyncio.Queue[bytes]") -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()
