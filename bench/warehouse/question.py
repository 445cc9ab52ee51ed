"""What is asked of each contestant: the same records and pages, each in its own spelling."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.auth.connection import HOST, Answer, Connection
from bench.warehouse.bare import FOUND, PAGE

WORKLOADS = ("by id", "page of 100", "filter and sort", "304")
DEPTHS = ("page at depth 0", "page at depth 0.9")
WALKED = re.compile(rb'"next":"([^"]+)"')
DIFFERENT = 200
"""Requests of a workload that differ."""
LONGEST_CURSOR = 800


@dataclass
class Asker:
    """Requests in the spelling of one contestant."""

    token: str
    after: Callable[[int], str]
    record: str = "/posts/{id}"
    found: str = "/posts?userId={user}"
    tagged: str = "/posts"
    tag: str = ""

    def requests(self, workload: str, places: Sequence[int], deep: int) -> list[str]:
        """The requests of a workload over these ids, which pages start behind."""
        match workload:
            case "by id":
                return [self.get(self.record.format(id=place)) for place in places]
            case "page of 100":
                return [self.get(self.after(place)) for place in places]
            case "filter and sort":
                return [self.get(self.found.format(user=place // PAGE)) for place in places]
            case "304":
                return [self.get(self.tagged, f"If-None-Match: {self.tag}\r\n")]
            case _:
                return [self.get(self.after(0 if workload == DEPTHS[0] else deep))]

    def get(self, path: str, more: str = "") -> str:
        """The bytes of a request, as text."""
        bearer = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{bearer}{more}\r\n"


def bare(tag: str) -> Asker:
    """A bare server, or FastAPI."""
    return Asker("", lambda place: f"/posts?after={place}", tag=tag)


def datasette() -> Asker:
    """Datasette, asked for nothing that it could leave out."""
    shape = "_shape=objects&_nocount=1&_nofacet=1"
    return Asker(
        "",
        lambda place: f"/bench/posts.json?{shape}&_size={PAGE}" + (f"&_next={place}" if place else ""),
        "/bench/posts/{id}.json?_shape=objects",
        f"/bench/posts.json?{shape}&_size={FOUND}&userId__exact={{user}}&_sort_desc=title",
    )


async def ours(connection: Connection, token: str, last: int, step: int) -> Asker:
    """Ours: its cursors come from a walk up to the last place, in pages of a step each."""
    cursors: dict[int, str] = {}

    def after(place: int) -> str:
        return f"/posts?limit={PAGE}" + (f"&cursor={cursors[place]}" if place else "")

    asker = Asker(token, after, found=f"/posts?userId={{user}}&sort=-title&limit={FOUND}", tagged=after(0))
    place, path = 0, f"/posts?limit={step}"
    while place < last:
        answer = await ask(connection, asker.get(path))
        known = WALKED.search(answer.body, len(answer.body) - LONGEST_CURSOR)
        assert known is not None, answer.body[-LONGEST_CURSOR:]
        place += step
        cursors[place] = known[1].decode()
        path = f"/posts?limit={step}&cursor={cursors[place]}"
    answer = await ask(connection, asker.get(asker.tagged))
    asker.tag = answer.head.lower().partition(b"\r\netag: ")[2].partition(b"\r\n")[0].decode()
    return asker


async def ask(connection: Connection, request: str) -> Answer:
    """One answer, which must be 200."""
    answer = await connection.ask(request.encode())
    assert answer.status == 200, (request, answer)
    return answer
