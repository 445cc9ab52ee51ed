"""`python -m bench.rest.server RECORDS`: an API that costs next to nothing, so that what asks it is measured.

Pages are rendered beforehand. `/control` says how long answers take and gives what was asked; the first line on
standard output is the port.
"""

import asyncio
import json
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import uvloop

PAGE = 100
WIDE_RECORD = 10_000
"""Characters of a record of `/wide`, whose pages have a megabyte."""
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
CHANGED = BEGINNING + timedelta(days=30)


def record_of(number: int, at: datetime) -> dict[str, Any]:
    """A record of about 200 bytes."""
    return {
        "id": number,
        "name": f"Customer {number}",
        "email": f"customer.{number}@example.com",
        "city": ("Lagos", "Malmö", "Quito", "Osaka")[number % 4],
        "amount": number / 8,
        "active": number % 3 == 0,
        "updated_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "note": "as it was said on the phone " * (number % 2),
    }


class Records:
    """What the API has, in the order of ids and of changes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.all = [record_of(number, BEGINNING + timedelta(seconds=number)) for number in range(1, count + 1)]
        self.by_time = sorted((one["updated_at"], at) for at, one in enumerate(self.all))

    @cached_property
    def numbered(self) -> list[bytes]:
        """All pages by number."""
        return [answer_of(self._page(at)) for at in range(-(-self.count // PAGE))]

    @cached_property
    def cursors(self) -> list[bytes]:
        """All pages, each with the cursor of the next."""
        last = len(self.numbered) - 1
        return [
            answer_of({"data": self._part(at), "next": None if at == last else f"c{at + 1}"}) for at in range(last + 1)
        ]

    def since(self, moment: str, page: int) -> bytes:
        """A page of what changed from a moment on, in that order."""
        begin = bisect_left(self.by_time, (moment, 0))
        there = self.by_time[begin + PAGE * page : begin + PAGE * (page + 1)]
        return answer_of({"data": [self.all[at] for _, at in there], "total": len(self.by_time) - begin})

    def change(self, count: int) -> None:
        """Change so many records, spread over all of them."""
        for number in range(count):
            at = number * (self.count // count)
            self.all[at] = {**self.all[at], "amount": -number, "updated_at": f"{CHANGED:%Y-%m-%dT%H:%M:%SZ}"}
        self.by_time = sorted((one["updated_at"], at) for at, one in enumerate(self.all))
        vars(self).pop("numbered", None)

    def _page(self, at: int) -> dict[str, Any]:
        return {"data": self._part(at), "total": self.count}

    def _part(self, at: int) -> Sequence[Mapping[str, Any]]:
        return self.all[at * PAGE : (at + 1) * PAGE]


class Api:
    """What is answered, and what was asked since `/control` came last: how often, and when first."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.latency = 0.0
        self.asked = 0
        self.first = 0.0
        self.wide = 0

    def answer(self, target: str) -> bytes | None:
        """The answer to a target; None for none ever."""
        path, _, query = target.partition("?")
        given = dict(part.split("=", 1) for part in query.split("&") if part)
        if path == "/control":
            return self._control(given)
        if not self.asked:
            self.first = time.monotonic()
        self.asked += 1
        if path == "/hang":
            return None
        if path == "/wide":
            return self._wide(int(given["page"]))
        if path == "/cursor":
            return self.records.cursors[int(given.get("cursor", "c0")[1:])]
        at = int(given["page"]) - 1
        if "updated_since" in given:
            return self.records.since(given["updated_since"].replace("%3A", ":"), at)
        pages = self.records.numbered
        return pages[at] if at < len(pages) else answer_of({"data": [], "total": self.records.count})

    def _wide(self, page: int) -> bytes:
        filler = "x" * WIDE_RECORD
        first = (page - 1) * PAGE
        there = range(first, min(first + PAGE, self.wide))
        return answer_of({"data": [{"id": number, "text": filler} for number in there], "total": self.wide})

    def _control(self, given: Mapping[str, str]) -> bytes:
        told = {"asked": self.asked, "first": self.first}
        self.asked = 0
        self.latency = float(given.get("latency", 0))
        self.wide = int(given.get("wide", self.wide))
        if "change" in given:
            self.records.change(int(given["change"]))
        return answer_of(told)


class Exchange(asyncio.Protocol):
    """One connection: requests without body, one after the other, kept alive."""

    def __init__(self, api: Api, later: Callable[..., Any]) -> None:
        self.api = api
        self.later = later
        self.read = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            target = self.read[: self.read.index(b"\r")].split(b" ")[1].decode()
            self.read = self.read[end + 4 :]
            answer = self.api.answer(target)
            if answer is None:
                continue
            if self.api.latency:
                self.later(self.api.latency, self.transport.write, answer)
            else:
                self.transport.write(answer)


def answer_of(body: Any) -> bytes:
    """A whole answer with a JSON body."""
    text = json.dumps(body, ensure_ascii=False).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text) + text


async def serve(count: int) -> None:
    """Serve until ended."""
    api = Api(Records(count))
    loop = asyncio.get_running_loop()
    _ = api.records.numbered, api.records.cursors
    server = await loop.create_server(lambda: Exchange(api, loop.call_later), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
