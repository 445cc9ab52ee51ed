"""Endpoints as a source: events are read in their order, from a place that is kept with the rows at the target."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from nms.common import clock
from nms.common.change import Change, Shape
from nms.common.db.dsn import DSNType
from nms.common.document.inbox import InboxSystem
from nms.common.ear import own_ear
from nms.common.flow import Batch, FeedSpec, Part, Position
from nms.common.waiting import first_of
from nms.connectors.inbox.harvest import Harvest, harvest
from nms.connectors.inbox.place import Mark, Place, judge, read_place, write_place
from nms.connectors.inbox.reading import Event, Reader
from nms.connectors.inbox.repository import FeedRepository

CHANNEL = "nms_inbox"
LOOK_SECONDS = 5.0
"""Between looks where nothing is heard of."""
REST_SECONDS = 0.02
"""After a look that found nothing: what others receive wakes us, too."""
KEEP_SECONDS = 60.0
"""How often a place is kept that moved without changes, so that a restart need not look far back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a batch: events, bytes of bodies, and changes; the last event may stand beyond the latter two."""

    batch_events: int = 1_000
    batch_bytes: int = 8 << 20
    batch_changes: int = 10_000


class InboxSource:
    """Reads the endpoints of some datasets; an event is a source transaction, with changes of every dataset in it.

    Nothing is told to the inbox: where to go on stands in the target's transaction.
    """

    def __init__(self, system: InboxSystem, spec: FeedSpec, limits: Limits, repository: FeedRepository) -> None:
        self._spec = spec
        self._limits = limits
        self._repository = repository
        self._readers = {
            name: Reader(system.resource(name), shape, heals=spec.heals) for name, shape in parents_first(spec)
        }
        self._endpoints = system.endpoints(list(spec.shapes))
        self._rest: Sequence[Event] = ()
        self._seen: Counter[str] = Counter()
        self._met: Counter[str] = Counter()
        self._count = int(spec.start.get("place", 0))
        self._place = self._kept = read_place(spec.start) or Place(0)
        self._old = int(spec.start.get("old", 0))
        self._kept_at = time.monotonic()
        self._wake = asyncio.Event()
        self._waiting: float | None = None
        self._delay = 0.0

    @classmethod
    async def open(cls, system: InboxSystem, spec: FeedSpec, limits: Limits | None = None) -> "InboxSource":
        """Find where to begin and listen; raises InboxRestored, EventsDropped, or that the database is away."""
        made = cls(system, spec, limits or Limits(), await FeedRepository.open())
        await made._begin()
        own_ear(DSNType.NMS, CHANNEL).lend(made._wake)
        return made

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What has arrived, as batches; raises the Problem that ended the reading."""
        if read_place(self._spec.start) != self._kept:
            # Kept before anything arrives: else a restart would begin somewhere else.
            yield self._batch(Harvest([], []))
        while True:
            self._wake.clear()
            found = await self._harvest()
            if found.changes or found.poison or self._is_due():
                self._keep(found.events)
                yield self._batch(found)
            elif not found.events:
                await asyncio.sleep(REST_SECONDS)
                if not await first_of(self._wake, timeout=LOOK_SECONDS):
                    self._delay = 0.0

    async def confirm(self, position: Position) -> None:
        """Nothing to tell: the target alone keeps the place."""
        if self._waiting is not None and position.get("place") == self._count:
            self._delay, self._waiting = max(clock.now().timestamp() - self._waiting, 0.0), None

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of an event that was held; raises a MessageUnreadable."""
        return self._readers[dataset].read_held(body)

    def facts(self) -> dict[str, Any]:
        """The endpoints, and the milliseconds that the last event took or the one under way takes; 0 once all rests.

        By dataset, since it was opened: how many events of its endpoint came by, and how many had a record for it.
        """
        delay = self._delay
        if self._waiting is not None:
            delay = max(clock.now().timestamp() - self._waiting, 0.0)
        events = {name: {"seen": self._seen[name], "met": self._met[name]} for name in self._readers}
        return {"endpoints": list(self._endpoints), "delay_ms": round(delay * 1000, 1), "events": events}

    async def close(self) -> None:
        """Listen no more; safe to call twice."""
        await own_ear(DSNType.NMS, CHANNEL).leave(self._wake)

    # -- where to read

    async def _begin(self) -> None:
        if read_place(self._spec.start) is not None:
            judge(self._place, await self._repository.look(self._endpoints, self._place))
        elif self._spec.copy:
            # What was there before may have come to the target in an earlier generation.
            self._old = await self._repository.settled()
            self._place = self._kept = Place((await self._repository.look(self._endpoints, None)).lost)
        else:
            newest = await self._repository.newest(await self._repository.settled())
            self._place = self._kept = Place(0 if newest is None else newest.number, newest)

    async def _next(self) -> list[Event]:
        """The next events; raises where some were passed by."""
        before = self._place
        settled = await self._repository.settled()
        bound = (self._limits.batch_events, self._limits.batch_bytes)
        events = await self._repository.list_events(self._endpoints, before.number, settled, bound)
        judge(before, await self._repository.look(self._endpoints, before))
        if not events and time.monotonic() - self._kept_at > KEEP_SECONDS:
            # Events of others: to stand behind them shows, too, that time was not turned back.
            newest = await self._repository.newest(settled)
            self._place = before if newest is None else before.passed(newest.number, newest)
        return events

    def _is_due(self) -> bool:
        """Whether the place is to be kept although nothing came with it."""
        if time.monotonic() - self._kept_at <= KEEP_SECONDS:
            return False
        self._kept_at = time.monotonic()
        return self._place != self._kept

    def _keep(self, events: Sequence[Event]) -> None:
        self._kept, self._kept_at = self._place, time.monotonic()
        if events:
            self._waiting = events[0].received_at.timestamp()

    # -- what arrived

    async def _harvest(self) -> Harvest:
        """What the next events hold, up to the bound of changes; the place moves behind those that were read."""
        events = self._rest or await self._next()
        # Beside the event loop: of one event a sender can make a million changes.
        found = await asyncio.to_thread(harvest, self._readers, events, self._limits.batch_changes, self._old)
        self._rest = found.rest
        self._seen += found.seen
        self._met += found.met
        own = [event for event in found.events if event.run is None]
        mark = Mark(own[-1].number, own[-1].id, own[-1].received_at) if own else None
        if found.events:
            self._place = self._place.passed(found.events[-1].number, mark)
        return found

    def _batch(self, found: Harvest) -> Batch:
        self._count += 1
        times = [event.received_at.timestamp() for event in found.events]
        old = {"old": self._old} if self._place.number < self._old else {}
        return Batch(
            {"generation": self._spec.generation, "place": self._count, **write_place(self._place), **old},
            lambda: _parts(found.changes),
            changes=len(found.changes),
            transactions=len(found.events),
            committed=times[-1] if times else None,
            place=self._count,
            small=found.changes,
            ends=found.ends,
            edition=f"{self._spec.generation}.",
            times=times,
            poison=found.poison,
            keep=True,
        )


def parents_first(spec: FeedSpec) -> list[tuple[str, Shape]]:
    """The datasets of a feed, each behind those that its records refer to, else in their order."""
    placed: dict[str, Shape] = {}
    while len(placed) < len(spec.shapes):
        left = [name for name in spec.shapes if name not in placed]
        free = [name for name in left if not spec.above.get(name, set()) & (set(left) - {name})]
        # In a circle none is before the others.
        name = (free or left)[0]
        placed[name] = spec.shapes[name]
    return list(placed.items())


async def _parts(changes: Sequence[Change]) -> AsyncIterator[Part]:
    if changes:
        yield changes
