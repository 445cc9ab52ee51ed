"""`GET /data`: changes of all entities in one order, read below what is settled, so that no late commit is missed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nms.common.clock import backoff
from nms.common.db.dsn import DSNType
from nms.common.document import EntityDocument
from nms.common.ear import own_ear
from nms.common.guard import Caller
from nms.common.problem import Problem
from nms.common.waiting import first_of
from nms.warehouse.change import Span
from nms.warehouse.entities import Entities
from nms.warehouse.problems import PositionAhead
from nms.warehouse.repository import FeedRepository

log = logging.getLogger(__name__)

CHANNEL: Final = "nms_warehouse"
LOOK_SECONDS: Final = 5.0
"""Between looks where nothing is told."""
UNDER_WAY_SECONDS: Final = 0.2
"""Between looks while a writer is under way: one that rolls back tells nobody."""
PAUSE_SECONDS: Final = 0.02
"""Between two wakes of those who wait, however many writers there are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: changes behind `since`, or so many from the beginning on left out; `limit` of them."""

    since: int
    limit: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Changes as JSON, joined by commas; `next` is what to ask with again."""

    items: bytes
    count: int
    next: int

    @property
    def body(self) -> bytes:
        """The answer as JSON."""
        return b'{"items":[%b],"next":%d}' % (self.items, self.next)


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see of the entities, as they stand at each moment."""

    entities: Entities
    caller: Caller

    def documents(self) -> list[EntityDocument]:
        """The entities whose changes are shown, by name."""
        standing = self.entities.standing()
        return [one.document for one in standing if self.caller.may(f"entities:read:{one.name}")]


async def read_feed(repository: FeedRepository, sight: Sight, wanted: Wanted) -> FeedPage:
    """The next changes of the entities that the caller may see. Raises PositionAhead."""
    settled, newest = await repository.get_tide()
    if wanted.since > newest:
        raise PositionAhead(f"The feed ends at {newest}.", newest=newest)
    # In a statement of its own, which sees all that is settled by now.
    span = Span(wanted.since, settled, wanted.limit, wanted.offset)
    while True:
        built = sight.entities.built
        found = await repository.list_changes(sight.documents(), span)
        if found.built == built:
            break
        # `next` must not pass by what stands in an entity that this process had not heard of then.
        await sight.entities.look()
    if found.last is not None and not found.is_whole:
        return FeedPage(found.items, found.count, found.last)
    newest = await repository.get_newest(sight.entities.names(), settled)
    return FeedPage(found.items, found.count, max(newest, found.last or 0, wanted.since))


async def find_place(repository: FeedRepository, entities: Entities) -> int:
    """The place of the feed that everything comes behind which a later statement does not see.

    It is that of a change. Sequences that were rolled back are settled too, and after a crash others may have them.
    """
    settled, _ = await repository.get_tide()
    return await repository.get_newest(entities.names(), settled)


async def await_feed(
    repository: FeedRepository, sight: Sight, wanted: Wanted, seconds: float, *ends: asyncio.Event
) -> FeedPage:
    """As `read_feed`, but wait for so long until there is a change; also until one of the events is set."""
    page = await read_feed(repository, sight, wanted)
    deadline = time.monotonic() + seconds
    async with own_tide().lent() as wake:
        while not page.count and not any(end.is_set() for end in ends):
            wanted = Wanted(page.next, wanted.limit)
            page = await read_feed(repository, sight, wanted)
            left = deadline - time.monotonic()
            if page.count or left <= 0:
                break
            await first_of(wake, *ends, timeout=left)
            wake.clear()
    return page


class Tide:
    """Wakes those who wait when more is settled: one that looks, for all of the process."""

    def __init__(self) -> None:
        self._wakes: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever more is settled, and from time to time."""
        wake = asyncio.Event()
        self._wakes.add(wake)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow(), name="follow-feed")
        try:
            yield wake
        finally:
            self._wakes.discard(wake)
            if not self._wakes and self._task is not None:
                task, self._task = self._task, None
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        ear, wake = own_ear(DSNType.DWH, CHANNEL), asyncio.Event()
        ear.lend(wake)
        failures, told = 0, -1
        try:
            while True:
                wake.clear()
                pause = LOOK_SECONDS
                try:
                    settled, newest = await (await FeedRepository.open()).get_tide()
                    failures, pause = 0, UNDER_WAY_SECONDS if settled < newest else LOOK_SECONDS
                    if settled != told:
                        told = settled
                        self._ring()
                except Problem as problem:
                    log.warning("the feed cannot be looked at: %s", problem.detail)
                    failures += 1
                    pause = backoff(failures, base=0.2, cap=LOOK_SECONDS)
                if not await first_of(wake, timeout=pause) and pause == LOOK_SECONDS:
                    # What is settled may have gone back for a moment when somebody read by it.
                    self._ring()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await ear.leave(wake)

    def _ring(self) -> None:
        for wake in self._wakes:
            wake.set()


_tides: dict[int, Tide] = {}


def own_tide() -> Tide:
    """The tide of this event loop."""
    return _tides.setdefault(id(asyncio.get_running_loop()), Tide())
