"""The days of events: made ahead, dropped when no endpoint keeps them any more, and then what told their duplicates."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from nms.common.configuration import Configuration, current_documents
from nms.common.document.endpoint import KEEP
from nms.common.problem import Problem
from nms.common.waiting import first_of
from nms.inbox.repository import InboxRepository, queries

log = logging.getLogger(__name__)

AHEAD_DAYS: Final = 7
ROUND_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 30.0
GRACE_SECONDS: Final = 7 * 86_400.0
"""How long the events of an endpoint that was taken out are kept as if it were there: it may have been a mistake."""
BITE: Final = 5_000
BITE_SECONDS: Final = 0.05
"""Between bites, so that what arrives is never kept waiting for long."""


class DayRepository(InboxRepository):
    """Days, and what is gone with them."""

    async def make_days(self, ahead: int) -> int:
        """Make the partitions of today and of so many days ahead; gives how many were missing."""
        return int(await queries.insert_days(self.connection, ahead=ahead))

    async def note_keeps(self, keeps: Mapping[str, float], grace: float) -> float | None:
        """Note how many seconds endpoints keep; gives the most, one that was taken out counting for `grace` more."""
        longest: float | None = await queries.upsert_kept(
            self.connection, endpoints=list(keeps), keeps=list(keeps.values()), grace=grace
        )
        return longest

    async def drop_day(self, kept: float) -> bool:
        """Drop the oldest day that ended so many seconds ago; tells whether there was one."""
        return bool(await queries.delete_day(self.connection, kept=kept))

    async def delete_old_receipts(self, kept: float, size: int) -> int:
        """Delete receipts of such days, so many at a time; gives how many."""
        return int(await queries.delete_old_receipts(self.connection, kept=kept, size=size))

    async def delete_old_requests(self, kept: float, size: int) -> int:
        """Delete requests that brought lists of such days, so many at a time; gives how many."""
        return int(await queries.delete_old_requests(self.connection, kept=kept, size=size))

    async def delete_old_again(self, kept: float, size: int) -> int:
        """Forget that events of such days were replayed, so many at a time; gives how many."""
        return int(await queries.delete_old_again(self.connection, kept=kept, size=size))


async def keep_days(repository: DayRepository, stop: asyncio.Event) -> None:
    """Make days and let old ones go until told to stop."""
    while not stop.is_set():
        pause = ROUND_SECONDS
        try:
            await repository.make_days(AHEAD_DAYS)
            await forget(repository, stop)
        except Problem as problem:
            log.warning("the days of the inbox could not be kept: %s", problem.detail)
            pause = RETRY_SECONDS
        await first_of(stop, timeout=pause)


async def forget(repository: DayRepository, stop: asyncio.Event) -> None:
    """Drop the days that no endpoint keeps, and then the receipts of their events."""
    kept = await longest_keep(repository, await current_documents(repository))
    if kept is None:
        log.warning("an endpoint cannot be read: how long it keeps its events is not known, and none are dropped")
        return
    while await repository.drop_day(kept) and not stop.is_set():
        log.info("a day of events that no endpoint keeps was dropped")
        await first_of(stop, timeout=BITE_SECONDS)
    for forget_bite in (repository.delete_old_receipts, repository.delete_old_requests, repository.delete_old_again):
        while await forget_bite(kept, BITE) == BITE and not stop.is_set():
            await first_of(stop, timeout=BITE_SECONDS)


async def longest_keep(repository: DayRepository, configuration: Configuration) -> float | None:
    """Seconds that the most patient endpoint keeps, or did a while ago; None where an endpoint cannot be read."""
    if any(kind == "endpoint" for kind, _ in configuration.unreadable):
        return None
    keeps = {name: one.keep for name, one in configuration.endpoints.items()}
    longest = await repository.note_keeps(keeps, GRACE_SECONDS)
    return KEEP if longest is None else longest
