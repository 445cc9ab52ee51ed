"""The lists of a resource: one, or one below each record of its parent resource."""

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nms.common.document.rest import Parent, Resource
from nms.common.messages import find
from nms.common.problem import Problem
from nms.connectors.rest.ask import fill
from nms.connectors.rest.client import Client
from nms.connectors.rest.judge import is_refusal
from nms.connectors.rest.listing import Fetched, Listing
from nms.connectors.rest.memory import Memory
from nms.connectors.rest.paging import Place
from nms.connectors.rest.pipe import Pipe
from nms.connectors.rest.problems import PathUnfillable
from nms.connectors.rest.reading import exact_records, text_of

AHEAD_BYTES: Final = 1 << 20
"""A list below a parent that is fetched ahead of its turn waits from so many bytes on."""
GONE: Final = (404, 410)
LOGGED_OUT: Final = 401


@dataclass(frozen=True, slots=True)
class Lists:
    """Fetches all pages of a resource, those below its parents too; `memory` has what was answered before."""

    client: Client
    resource: Resource
    query: Mapping[str, str] = field(default_factory=dict)
    memory: Memory | None = None

    def pages(self, place: Place | None = None) -> AsyncGenerator[Fetched, None]:
        """The pages from a place on, the end as `Listing` tells it; raises Problems."""
        query = {**self.resource.query, **self.query}
        if self.resource.parent is None:
            return Listing(self.client, self.resource, self.resource.path, query, self.memory).pages(place)
        return self._below(self.resource.parent, query, place)

    async def _below(
        self, parent: Parent, query: Mapping[str, str], place: Place | None
    ) -> AsyncGenerator[Fetched, None]:
        """The lists below the records of the parent, in their order; some are fetched ahead.

        A parent that is gone when its turn comes has no records; where all are gone, the path is wrong. A list that is
        refused (a private project, an archived board) is left out; where all are, the resource is refused.
        """
        above = Lists(self.client, self.client.system.resources[parent.resource])
        skip, start = (place["skip"], place["above"]) if place else (0, None)
        found = Found(moved=place is not None)
        parents = above.pages(start)
        try:
            async for page in parents:
                found.moved |= page.moved
                found.left_out = page.left_out or found.left_out
                if page.answer is not None:
                    records = exact_records(page.answer, above.resource)[skip:]
                    below = self._page_below(parent, query, records, found)
                    try:
                        async for done, fetched in below:
                            fetched.place = {"above": start, "skip": skip + done}
                            yield fetched
                    finally:
                        await below.aclose()
                start, skip = page.place, 0
        finally:
            await parents.aclose()
        if found.missing is not None and not found.lists:
            raise found.missing
        # Behind a place the others were read before.
        if found.left_out is not None and not found.lists and place is None:
            raise found.left_out
        yield Fetched(None, ends=True, moved=found.moved, left_out=found.left_out)

    async def _page_below(
        self, parent: Parent, query: Mapping[str, str], records: list[Any], found: "Found"
    ) -> AsyncGenerator[tuple[int, Fetched], None]:
        """The pages below one page of parents, each with how many of these are done with it."""
        waiting = deque(enumerate(records))
        ahead: deque[tuple[int, Pipe[Fetched], dict[str, str]]] = deque()
        try:
            while waiting or ahead:
                while waiting and len(ahead) < self.client.system.concurrency:
                    at, record = waiting.popleft()
                    beside = {name: text_of(find(record, of)) for name, of in parent.fields.items()}
                    try:
                        path = fill(self.resource.path, beside)
                    except PathUnfillable:
                        # A parent without a name of its own has nothing below it.
                        continue
                    listing = Listing(self.client, self.resource, path, query, self.memory)
                    ahead.append((at, Pipe(listing.pages(), AHEAD_BYTES), beside))
                at, pipe, beside = ahead[0]
                pages = await _take(pipe, found)
                for page in pages:
                    found.moved |= page.moved
                    # The end of one list is none of all.
                    told = replace(page, ends=False, moved=False, beside=beside, left_out=found.left_out)
                    yield at + page.ends, told
                if not pages:
                    ahead.popleft()
                    await pipe.close()
        finally:
            for _, pipe, _ in ahead:
                await pipe.close()


@dataclass(slots=True)
class Found:
    """What was met on the way: lists that were there, Problems of those that were not, whether records moved."""

    moved: bool = False
    lists: int = 0
    missing: Problem | None = None
    left_out: Problem | None = None


async def _take(pipe: Pipe[Fetched], found: Found) -> list[Fetched]:
    try:
        pages = await pipe.take(AHEAD_BYTES)
    except Problem as problem:
        answered = problem.facts.get("answered")
        if answered in GONE:
            found.missing = problem
        elif is_refusal(problem) and answered != LOGGED_OUT:
            found.left_out = problem
        else:
            raise
        return []
    found.lists += bool(pages)
    return pages
