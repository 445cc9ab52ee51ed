"""`python -m bench.inbox.strangers PORT CONNECTIONS`: slow heads and bodies, malformed requests, until it is ended.

So many connections give a head a byte a second, so many a body; who is closed comes again. Beside them the corpus of
tests/service/raw_requests.py is sent again and again. Prints a line when all have come, and JSON at SIGTERM.
"""

import asyncio
import json
import resource
import signal
import sys
from collections import Counter
from functools import partial

import uvloop

from tests.service.raw_requests import malformed, oversized

HEAD = b"POST /in/bench HTTP/1.1\r\nHost: nms\r\nX-One: "
BODY = b"POST /in/bench HTTP/1.1\r\nHost: nms\r\nContent-Length: 1000\r\n\r\n"
PAUSE = 0.05
"""Seconds between two malformed requests."""


class Slow(asyncio.Protocol):
    """One slow connection."""

    def __init__(self, first: bytes, seen: Counter[str], waiting: list[bytes]) -> None:
        self._first, self._seen, self._waiting = first, seen, waiting
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._seen["opened"] += 1
        self.send(self._first)

    def data_received(self, data: bytes) -> None:
        self._seen[data[9:12].decode()] += 1

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        self._waiting.append(self._first)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)  # type: ignore[attr-defined]


async def crowd(port: int, count: int, seen: Counter[str]) -> None:
    """Keep so many of each kind connected."""
    loop = asyncio.get_running_loop()
    waiting, slow = [HEAD, BODY] * count, list[Slow]()
    while True:
        slow = [one for one in slow if one.transport is not None]
        for one in slow:
            one.send(b"a")
        again, waiting[:] = waiting[:], []
        for first in again:
            _, one = await loop.create_connection(partial(Slow, first, seen, waiting), "127.0.0.1", port)
            slow.append(one)
        if seen["opened"] == 2 * count:
            print("here", flush=True)
        await asyncio.sleep(1)


async def confuse(port: int, seen: Counter[str]) -> None:
    """Send the corpus, one after the other."""
    requests = [raw.data for raw in (*malformed(), *oversized())]
    while True:
        for data in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                seen[f"malformed {(await reader.read(12))[9:].decode()}"] += 1
            except ConnectionError:
                seen["malformed reset"] += 1
            writer.close()
            await asyncio.sleep(PAUSE)


async def main(port: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    seen: Counter[str] = Counter()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    work = [asyncio.create_task(crowd(port, count, seen)), asyncio.create_task(confuse(port, seen))]
    over = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({*work, over}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {over}:
        task.result()
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
