"""The room's end of the bus: what it tells is sent on, what cfg publishes is followed."""

import asyncio
import logging
from typing import Any, Final

from nms.common.bus.bus import open_bus
from nms.common.bus.subscription import Subscription
from nms.common.configuration import current_revision
from nms.common.event import Envelope
from nms.common.following import followed
from nms.common.problem import Problem
from nms.common.rollout import Report, reported
from nms.common.settings import Settings
from nms.common.waiting import together
from nms.events.cfg import DocumentsPublished
from nms.sync.pipeline import adopt
from nms.sync.repository import SyncRepository

log = logging.getLogger(__name__)

SUBSCRIBER = "sync"
WANTED = (DocumentsPublished.type,)
EVENT_SECONDS: Final = 1.0
"""Until an event that tells of a revision has usually arrived, with notices of the database or without."""


async def attend(repository: SyncRepository, settings: Settings, stop: asyncio.Event) -> None:
    """Relay the outbox and follow the documents until told to stop; any number of processes may do so."""
    bus = open_bus(settings, repository, {SUBSCRIBER: WANTED})
    subscription = Subscription(SUBSCRIBER, WANTED, repository, _follow)
    try:
        await _catch_up(repository)
        async with reported("sync") as report, followed(Adopted(repository, report)), together() as duties:
            duties.create_task(bus.relay(repository, stop))
            duties.create_task(bus.deliver(subscription, stop))
    finally:
        await bus.close()


class Adopted:
    """The revision that the pipelines follow, whichever process had them do so."""

    name = "adopted revision"
    channel = "nms_adopted"

    def __init__(self, repository: SyncRepository, report: Report) -> None:
        self._repository, self._report = repository, report

    @property
    def is_read(self) -> bool:
        """Whether it was ever read."""
        return self._report.revision is not None

    async def look(self) -> None:
        """Take over which one it is now; raises a Problem where it cannot be read.

        What no event told of in time, since the broker is away, is followed here.
        """
        revision = await self._repository.get_adopted()
        if await self._is_behind(revision):
            await asyncio.sleep(EVENT_SECONDS)
            revision = await self._repository.get_adopted()
            if await self._is_behind(revision):
                await adopt(self._repository)
                revision = await self._repository.get_adopted()
        if revision is not None:
            self._report.take(revision)

    async def source(self) -> Any:
        """The pool of its database."""
        return self._repository.connection

    async def _is_behind(self, revision: int | None) -> bool:
        return await current_revision(self._repository) > (revision or 0)


async def _catch_up(repository: SyncRepository) -> None:
    # Documents that were stored while no worker ran, or by one that died before its pipelines followed.
    try:
        await adopt(repository)
    except Problem as problem:
        log.warning("the documents could not be followed yet: %s", problem.detail)


async def _follow(tx: Any, _envelope: Envelope) -> None:
    await adopt(tx)
