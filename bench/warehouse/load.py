"""`python -m bench.warehouse.load PORT CLIENTS SECONDS STATUS`: GETs over kept connections; prints JSON.

The requests come as a JSON list on its input, and are sent in turn, again from the beginning when all were sent.
"""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter, deque
from itertools import cycle, islice
from typing import cast

import uvloop

from bench.auth.connection import HOST, length_of

GRACE = 30.0
"""Seconds that the last answers may take."""
MOST = 25_000
"""Requests made beforehand for each second; who is faster waits for none to be made, but ends early."""


class Sender(asyncio.Protocol):
    """One connection: the next event goes out when the last one is answered."""

    def __init__(self, requests: deque[bytes], deadline: float) -> None:
        self._requests, self._deadline = requests, deadline
        self._buffer, self._began = b"", 0.0
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are no subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or not is_whole(self._buffer, end):
            return
        self.seconds.append(time.perf_counter() - self._began)
        self.statuses[int(self._buffer[9:12])] += 1
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(str(exc or "closed by the server")))

    def _send(self) -> None:
        self._began = time.perf_counter()
        if self._began < self._deadline and self._requests:
            self._transport.write(self._requests.popleft())
        else:
            self.done.set_result(None)
            self._transport.close()


def is_whole(answer: bytes, end: int) -> bool:
    """Whether all of an answer is there, whose head ends here; chunked ones are taken without trailers."""
    head = answer[:end].lower()
    if b"\r\ntransfer-encoding: chunked" in head:
        return answer.endswith(b"\r\n0\r\n\r\n")
    return len(answer) >= end + 4 + length_of(head)


async def load(port: int, clients: int, seconds: float, status: int) -> dict[str, float]:
    """The rate and the times of so many connections at once; every answer must have this status."""
    given = [text.encode() for text in json.loads(sys.stdin.read())]
    requests = deque(islice(cycle(given), int(MOST * seconds)))
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    senders = []
    for _ in range(clients):
        _, sender = await loop.create_connection(lambda: Sender(requests, began + seconds), HOST, port)
        senders.append(sender)
    await asyncio.wait_for(asyncio.gather(*(sender.done for sender in senders)), seconds + GRACE)
    taken = time.perf_counter() - began
    statuses: Counter[int] = sum((sender.statuses for sender in senders), Counter())
    if set(statuses) != {status}:
        raise SystemExit(f"not every answer was {status}: {dict(statuses)}")
    times = [one for sender in senders for one in sender.seconds]
    cuts = statistics.quantiles(times, n=100)
    return {"count": len(times), "rate": len(times) / taken, "p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


if __name__ == "__main__":
    port, clients, seconds, status = sys.argv[1:]
    print(json.dumps(uvloop.run(load(int(port), int(clients), float(seconds), int(status)))))
