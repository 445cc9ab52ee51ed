"""The background work of auth: events are sent, and what is over is deleted. Any number of processes may do it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nms.auth.claim import ClaimRepository
from nms.auth.claims import tell_claim
from nms.auth.repository import AuthRepository
from nms.common.bus.bus import open_bus
from nms.common.problem import Problem
from nms.common.settings import Settings
from nms.common.waiting import first_of, together

log = logging.getLogger(__name__)

PURGE_SECONDS = 600.0
PURGE_SIZE = 5000
GREET_SECONDS = 5.0
KEEP_DAYS = 30
"""Sessions, and secrets of service tokens, that are over are kept for so long: somebody may ask what they were."""
KNOWN_DAYS = 180
"""A network that an account has not logged in from for so long is as good as a new one."""


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Tell of the claim, relay the outbox and delete what is over until told to stop."""
    repository = await AuthRepository.open()
    bus = open_bus(settings, repository, {})
    try:
        async with together() as duties:
            duties.create_task(bus.relay(repository, stop))
            duties.create_task(_keep_tidy(repository, stop))
            duties.create_task(_greet(settings, stop))
    finally:
        await bus.close()


async def purge(repository: AuthRepository) -> int:
    """Delete what is over: forgiven attempts, old networks, revocations, sessions, secrets; gives how many rows."""
    total = 0
    deletions: tuple[Callable[[], Awaitable[int]], ...] = (
        lambda: repository.purge_throttle(PURGE_SIZE),
        lambda: repository.purge_known_addresses(KNOWN_DAYS, PURGE_SIZE),
        lambda: repository.purge_revocations(PURGE_SIZE),
        lambda: repository.purge_sessions(KEEP_DAYS, PURGE_SIZE),
        lambda: repository.purge_service_secrets(KEEP_DAYS, PURGE_SIZE),
        lambda: repository.purge_service_tokens(KEEP_DAYS, PURGE_SIZE),
    )
    for delete in deletions:
        while count := await delete():
            total += count
            if count < PURGE_SIZE:
                break
    return total


async def _greet(settings: Settings, stop: asyncio.Event) -> None:
    repository = await ClaimRepository.open()
    while not stop.is_set():
        try:
            await tell_claim(repository, settings)
            return
        except Problem as problem:
            log.warning("whether there is an administrator cannot be told yet: %s", problem.code)
        await first_of(stop, timeout=GREET_SECONDS)


async def _keep_tidy(repository: AuthRepository, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await purge(repository)
        except Problem as problem:
            log.warning("what is over could not be deleted: %s", problem.code)
        await first_of(stop, timeout=PURGE_SECONDS)
