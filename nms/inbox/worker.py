"""The background work of the inbox, composed: days are kept, events are passed on, replays are worked."""

import asyncio
import os
import socket
from typing import Final

from nms.common.run import Crew, RunRepository
from nms.common.settings import get_settings, read_settings
from nms.common.waiting import together
from nms.inbox.days import DayRepository, keep_days
from nms.inbox.duty import keep_up
from nms.inbox.relay import RelayRepository, run_relay
from nms.inbox.replay import KIND, ReplayRepository
from nms.inbox.run import Replayer
from nms.inbox.settings import InboxSettings

REPLAYS: Final = 4
"""Replays that a process works at a time."""


async def run_worker(stop: asyncio.Event) -> None:
    """Keep the days, pass events on and work replays until told to stop; any number of processes may do it."""
    days, relay, settings = await DayRepository.open(), await RelayRepository.open(), get_settings()
    async with together() as duties:
        duties.create_task(keep_up("days", lambda: keep_days(days, stop), stop))
        duties.create_task(keep_up("relay", lambda: run_relay(relay, settings, stop), stop))
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
