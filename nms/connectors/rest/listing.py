"""The pages of one list, in order: several are asked for at a time where they have numbers, else one by one."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nms.common.document.rest import NumberedPages, Resource
from nms.common.egress.exchange import Answer
from nms.common.problem import Problem
from nms.connectors.rest.ask import Ask, locate
from nms.connectors.rest.client import Client
from nms.connectors.rest.memory import Memory, Remembered, condition_of
from nms.connectors.rest.paging import Numbers, Place, Tally, ask_of, following, total_of
from nms.connectors.rest.problems import NextPageLoop, RemoteMissing, RemoteRefused
from nms.connectors.rest.reading import parse_answer
from nms.connectors.rest.records import find_records

AHEAD_BYTES: Final = 16 << 20
"""Pages that are asked for at a time take about so much together; one at least is asked for."""


@dataclass(slots=True)
class Fetched:
    """One page of a list, or (without `answer`) one that did not change; `place` is where the list goes on behind it.

    `beside` are fields of the parent that its records hang below; `learnt` is for whoever hands it on to remember, for
    pages that were asked for ahead may be given up. The list ends with one whose `ends` is true: then
    `moved` says that records moved between the pages while they were read, or that not all came. `left_out` is why a
    list was left out before it.
    """

    place: Place | None
    answer: Answer | None = None
    body: Any = None
    count: int = 0
    total: int | None = None
    alike: int = 0
    beside: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False
    moved: bool = False
    left_out: Problem | None = None
    learnt: tuple[str, Remembered] | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 200 + (0 if self.answer is None else len(self.answer.body))


@dataclass(frozen=True, slots=True)
class Listing:
    """A list at a path of a remote, asked for with a query; what `memory` has is asked for on condition only."""

    client: Client
    resource: Resource
    path: str
    query: Mapping[str, str]
    memory: Memory | None = None

    async def pages(self, place: Place | None = None) -> AsyncGenerator[Fetched, None]:
        """The pages from a place on; raises Problems, among them NextPageLoop."""
        tally = Tally(moved=place is not None and self.resource.paging.style != "cursor")
        walk = self._numbered if isinstance(self.resource.paging, NumberedPages) else self._linked
        pages = walk(place)
        try:
            async for fetched in pages:
                tally.note(fetched.count, fetched.total)
                yield fetched
        finally:
            await pages.aclose()
        yield Fetched(None, ends=True, moved=tally.is_moved)

    async def _linked(self, place: Place | None) -> AsyncGenerator[Fetched, None]:
        """Each page tells where the next one is, which is asked for while this one is worked on."""
        seen: set[int] = set()
        ahead: deque[tuple[int, asyncio.Task[Fetched]]] = deque()
        try:
            fetched = await self._fetch(place or {})
            while fetched.place is not None:
                mark = hash(tuple(fetched.place.items()))
                if mark not in seen:
                    ahead.append((mark, asyncio.create_task(self._fetch(fetched.place))))
                yield fetched
                if not ahead:
                    raise NextPageLoop(f"The pages of {self.path} go round in circles.", path=self.path)
                seen.add(mark)
                fetched = await ahead.popleft()[1]
            yield fetched
        finally:
            await _cancel(ahead)

    async def _numbered(self, place: Place | None) -> AsyncGenerator[Fetched, None]:
        """Pages have numbers: the more were there, the more are asked for at a time, and given in order."""
        assert isinstance(self.resource.paging, NumberedPages)
        start = None if place is None else int(place["at"])
        numbers = Numbers(self.resource.paging, start, wary=self.resource.parent is None)
        ahead: deque[tuple[int, asyncio.Task[Fetched]]] = deque()
        done, size = 0, 1
        try:
            while True:
                # Twice as many wait for their turn, so that the next one leaves when any is answered; but not behind
                # an end that nobody has told.
                most = self.client.system.concurrency * (2 if numbers.ends else 1)
                width = min(most, done + 1, max(1, AHEAD_BYTES // size))
                width = 1 if numbers.is_told_whole else width
                while len(ahead) < width and (numbers.more or not ahead):
                    at = numbers.take()
                    ahead.append((at, asyncio.create_task(self._fetch({"at": at}))))
                at, task = ahead.popleft()
                try:
                    fetched = await task
                except (RemoteRefused, RemoteMissing) as problem:
                    if numbers.is_told_whole:
                        return
                    fetched = await self._look_again(at, problem)
                done, size = done + 1, max(size // 2, fetched.size)
                behind = numbers.behind(at, fetched.count, fetched.total)
                fetched.place = {"at": behind}
                yield fetched
                if numbers.is_last(at, fetched.count, fetched.total, fetched.alike):
                    return
                if behind != (ahead[0][0] if ahead else numbers.at):
                    await _cancel(ahead)
                    numbers.at = behind
        finally:
            await _cancel(ahead)

    async def _look_again(self, at: int, problem: Problem) -> Fetched:
        """A page that was missing, or nothing where that is the end: it is missing still, and the first is there."""
        start = self.resource.paging.start if isinstance(self.resource.paging, NumberedPages) else at
        if isinstance(problem, RemoteRefused) or at == start:
            raise problem
        await self._fetch({"at": start})
        try:
            return await self._fetch({"at": at})
        except RemoteMissing:
            return Fetched(None)

    async def _fetch(self, place: Place) -> Fetched:
        paging = self.resource.paging
        path, query = ask_of(paging, place, self.path, self.query)
        url = locate(self.client.system.url, Ask("GET", path, query))
        known = None if self.memory is None else self.memory.get(url)
        answer = await self.client.get(Ask("GET", path, query, {} if known is None else known.headers))
        if answer.status == 304 and known is not None:
            return Fetched(
                None if known.place is None else dict(known.place), None, None, known.count, known.total, known.alike
            )
        body = parse_answer(answer)
        records = find_records(body, self.resource.records)
        alike = hash(repr((len(records), records[:1], records[-1:])))
        total = total_of(paging, answer, body)
        then = following(paging, self.client.system.url, url, answer, body)
        learnt = Remembered(condition_of(answer), then, len(records), total, alike)
        return Fetched(then, answer, body, len(records), total, alike, learnt=(url, learnt))


async def _cancel(ahead: deque[tuple[int, asyncio.Task[Fetched]]]) -> None:
    tasks = [task for _, task in ahead]
    ahead.clear()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
