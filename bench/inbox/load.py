"""`python -m bench.inbox.load PORT CLIENTS SECONDS [PACE]`: signed events over kept connections; prints JSON.

A process of its own, with as little of its own time as possible: an event is built once and sent under a new id, and
signed anew, before the clock runs. With a pace all connections together send so many events a second.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import statistics
import sys
import time
from collections import Counter, deque
from typing import cast
from uuid import uuid4

import uvloop

from bench.auth.connection import HOST, length_of
from bench.inbox.bare import SECRET

PATH = "/in/bench"
BODY = 1_024
GRACE = 30.0
MOST = 25_000
"""Events signed beforehand for each second; who is faster waits for no signature, but ends early."""


def make_request(secret: bytes, now: int) -> bytes:
    """One event of 1 KB, signed by Standard Webhooks v1."""
    told = uuid4().hex
    fixed = b'{"id":"%s","type":"order.paid","text":"%s"}'
    body = fixed % (told.encode(), b"x" * (BODY - len(fixed % (told.encode(), b""))))
    signature = hmac.new(secret, f"{told}.{now}.".encode() + body, hashlib.sha256).digest()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nwebhook-id: {told}\r\n"
        f"webhook-timestamp: {now}\r\nwebhook-signature: v1,{base64.b64encode(signature).decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Sender(asyncio.Protocol):
    """One connection: the next event goes out when the last one is answered."""

    def __init__(self, requests: deque[bytes], deadline: float, pause: float) -> None:
        self._requests, self._deadline, self._pause = requests, deadline, pause
        self._due = deadline
        self._buffer, self._began = b"", 0.0
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are no subclass.
        self._transport = cast(asyncio.Transport, transport)
        # Those that are paced begin one after the other, not all at once.
        self._due = time.perf_counter() + self._pause * random.random() - self._pause
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) < end + 4 + length_of(self._buffer[:end].lower()):
            return
        self.seconds.append(time.perf_counter() - self._began)
        self.statuses[int(self._buffer[9:12])] += 1
        self._buffer = b""
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(str(exc or "closed by the server")))

    def _wait(self) -> None:
        """Send when it is time; who is late sends at once, until he has made up for it."""
        self._due += self._pause
        ahead = self._due - time.perf_counter() if self._pause else 0.0
        if ahead > 0:
            asyncio.get_running_loop().call_later(ahead, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        if self._began < self._deadline and self._requests:
            self._transport.write(self._requests.popleft())
        else:
            self.done.set_result(None)
            self._transport.close()


async def load(port: int, clients: int, seconds: float, pace: float = 0.0) -> dict[str, float]:
    """The rate and the times of so many connections at once; every event must be answered by 202."""
    secret, now = os.environ[SECRET].encode(), int(time.time())
    pause = clients / pace if pace else 0.0
    requests = deque(make_request(secret, now) for _ in range(int((pace * 1.5 + clients if pace else MOST) * seconds)))
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    senders = []
    for _ in range(clients):
        _, sender = await loop.create_connection(lambda: Sender(requests, began + seconds, pause), HOST, port)
        senders.append(sender)
    await asyncio.wait_for(asyncio.gather(*(sender.done for sender in senders)), seconds + GRACE)
    taken = time.perf_counter() - began
    statuses: Counter[int] = sum((sender.statuses for sender in senders), Counter())
    if set(statuses) != {202}:
        raise SystemExit(f"not every event was taken: {dict(statuses)}")
    times = [one for sender in senders for one in sender.seconds]
    cuts = statistics.quantiles(times, n=100)
    return {"count": len(times), "rate": len(times) / taken, "p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:])))))
