"""The background work of the warehouse: tables follow the documents of their entities, ordered exports are written."""

import asyncio
import os
import socket
from typing import Final

from nms.common.rollout import reported
from nms.common.run import Crew, DwhRunRepository
from nms.common.settings import read_settings
from nms.common.waiting import together
from nms.warehouse.document import follow_documents
from nms.warehouse.exporter import work_exports
from nms.warehouse.pull import KIND as PULL
from nms.warehouse.pull import Puller
from nms.warehouse.repository import EntityRepository, PullRepository
from nms.warehouse.run import KIND, Builder
from nms.warehouse.settings import WarehouseSettings

RUNS: Final = 4
"""Runs that a process works at a time."""


async def run_worker(stop: asyncio.Event) -> None:
    """Follow the documents and work runs until told to stop; any number of processes may do it."""
    repository = await EntityRepository.open()
    async with reported("warehouse") as report, together() as duties:
        duties.create_task(follow_documents(repository, report, stop))
        duties.create_task(work_runs(repository, stop))
        duties.create_task(work_exports(stop))


async def work_runs(repository: EntityRepository, stop: asyncio.Event) -> None:
    """Claim runs and work them until told to stop."""
    crew = Crew(
        await DwhRunRepository.open(),
        {KIND: Builder(repository).build, PULL: Puller(await PullRepository.open()).pull},
        worker=f"{socket.gethostname()}:{os.getpid()}",
        size=RUNS,
        lease=read_settings(WarehouseSettings).lease,
    )
    await crew.run(stop)
