"""`python -m bench.cfg.watchers PORT WATCHERS SINCE UPTO`: all hear every revision between; prints JSON.

It says `ready` when all watch, and at the end how late they heard: from the moment that the database noted for the
revision, before its commit, until it was read here. The token comes in CFG_TOKEN, the database in DB_NMS_DSN.
"""

import asyncio
import json
import os
import re
import statistics
import sys
import time
from array import array
from typing import cast

import asyncpg
import uvloop

from bench.auth.connection import HOST
from bench.cfg.writers import TOKEN

CHANGED = re.compile(rb"^id: (\d+)\ndata: ", re.M)
END = b"\n\n"
SETTLED = b"id: "


class Watcher(asyncio.Protocol):
    """One watch: which revisions came, in their order, and when."""

    def __init__(self, since: int, upto: int, token: str) -> None:
        self._since, self._upto, self._token = since, upto, token
        self._buffer = b""
        self.revisions, self.times = array("q"), array("d")
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are no subclass.
        self._transport = cast(asyncio.Transport, transport)
        bearer = f"Authorization: Bearer {self._token}"
        self._transport.write(f"GET /watch?since={self._since} HTTP/1.1\r\nHost: {HOST}\r\n{bearer}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        whole, _, rest = (self._buffer + data).rpartition(END)
        self._buffer = rest
        if SETTLED in whole and not self.began.done():
            self.began.set_result(None)
        for found in CHANGED.findall(whole):
            self.revisions.append(int(found))
            self.times.append(now)
        if self.revisions and self.revisions[-1] >= self._upto and not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        for future in (self.began, self.done):
            if not future.done():
                future.set_exception(ConnectionError(f"closed behind {self.revisions[-1:]}: {self._buffer[-500:]!r}"))


async def run(port: int, count: int, since: int, upto: int) -> dict[str, float]:
    """How many did not hear what they should, and how late the others heard it."""
    loop, watchers = asyncio.get_running_loop(), list[Watcher]()
    for _ in range(count):
        _, watcher = await loop.create_connection(lambda: Watcher(since, upto, os.environ[TOKEN]), HOST, port)
        watchers.append(watcher)
    await asyncio.gather(*(one.began for one in watchers))
    print("ready", flush=True)
    await asyncio.gather(*(one.done for one in watchers))
    whole = array("q", range(since + 1, upto + 1))
    missed = sum(one.revisions != whole for one in watchers)
    stored = await read_times(since)
    late = sorted(
        (at - stored[number]) * 1e3 for one in watchers for number, at in zip(one.revisions, one.times, strict=True)
    )
    cuts = statistics.quantiles(late, n=100)
    return {"missed": missed, "heard": len(late), "p50": cuts[49], "p99": cuts[98], "longest": late[-1]}


async def read_times(since: int) -> dict[int, float]:
    """When each revision was stored, in seconds since 1970."""
    database = await asyncpg.connect(os.environ["DB_NMS_DSN"])
    rows = await database.fetch(
        "select id, extract(epoch from created_at)::float8 from cfg.revision where id > $1", since
    )
    await database.close()
    return {row[0]: row[1] for row in rows}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(*(int(each) for each in sys.argv[1:])))))
