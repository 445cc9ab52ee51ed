"""The background work of the inbox: days are made ahead, what no endpoint keeps goes, events are passed on."""

import asyncio
import logging
import os
import socket
from typing import Final

from nms.common.configuration import Configuration, current_documents
from nms.common.document.endpoint import KEEP
from nms.common.problem import Problem
from nms.common.run import Crew, RunRepository
from nms.common.settings import get_settings, read_settings
from nms.common.waiting import first_of
from nms.inbox.duty import keep_up
from nms.inbox.relay import run_relay
from nms.inbox.replay import KIND
from nms.inbox.repository import InboxRepository, ReplayRepository
from nms.inbox.run import Replayer
from nms.inbox.settings import InboxSettings

log = logging.getLogger(__name__)

AHEAD_DAYS: Final = 7
ROUND_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 30.0
REPLAYS: Final = 4
"""Replays that a process works at a time."""
GRACE_SECONDS: Final = 7 * 86_400.0
"""How long the events of an endpoint that was taken out are kept as if it were there: it may have been a mistake."""
BITE: Final = 5_000
BITE_SECONDS: Final = 0.05
"""Between bites, so that what arrives is never kept waiting for long."""


async def run_worker(stop: asyncio.Event) -> None:
    """Keep the days, pass events on and work replays until told to stop; any number of processes may do it."""
    repository, settings = await InboxRepository.open(), get_settings()
    async with asyncio.TaskGroup() as duties:
        duties.create_task(keep_up("days", lambda: keep_days(repository, stop), stop))
        duties.create_task(keep_up("relay", lambda: run_relay(repository, settings, stop), stop))
        duties.create_task(keep_up("replays", lambda: work_replays(stop), stop))


async def work_replays(stop: asyncio.Event) -> None:
    """Claim replays and pass their events on until told to stop."""
    crew = Crew(
        await RunRepository.open(),
        {KIND: Replayer(await ReplayRepository.open()).replay},
        worker=f"{socket.gethostname()}:{os.getpid()}",
        size=REPLAYS,
        lease=read_settings(InboxSettings).lease,
    )
    await crew.run(stop)


async def keep_days(repository: InboxRepository, stop: asyncio.Event) -> None:
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


async def forget(repository: InboxRepository, stop: asyncio.Event) -> None:
    """Drop the days that no endpoint keeps, and then the receipts of their events."""
    kept = await longest_keep(repository, await current_documents(repository))
    if kept is None:
        log.warning("an endpoint cannot be read: how long it keeps its events is not known, and none are dropped")
        return
    while await repository.drop_day(kept) and not stop.is_set():
        log.info("a day of events that no endpoint keeps was dropped")
        await first_of(stop, timeout=BITE_SECONDS)
    for forget_bite in (repository.delete_old_receipts, repository.delete_old_again):
        while await forget_bite(kept, BITE) == BITE and not stop.is_set():
            await first_of(stop, timeout=BITE_SECONDS)


async def longest_keep(repository: InboxRepository, configuration: Configuration) -> float | None:
    """Seconds that the most patient endpoint keeps, or did a while ago; None where an endpoint cannot be read."""
    if any(kind == "endpoint" for kind, _ in configuration.unreadable):
        return None
    keeps = {name: one.keep for name, one in configuration.endpoints.items()}
    longest = await repository.note_keeps(keeps, GRACE_SECONDS)
    return KEEP if longest is None else longest
