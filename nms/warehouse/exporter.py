"""The run of an ordered export: writes the file from one snapshot, anew where a worker died, and sweeps old files."""

import asyncio
import logging
import os
import socket
from functools import partial
from typing import Final

from nms.common.faults import point
from nms.common.problem import Problem
from nms.common.run import Claimed, Crew, DwhRunRepository
from nms.common.settings import get_settings, read_settings
from nms.common.waiting import first_of, together
from nms.warehouse.entities import Entities
from nms.warehouse.export import DAY, KIND
from nms.warehouse.extract import Asked, ending, read_extract, write
from nms.warehouse.feed import find_place
from nms.warehouse.file import Draft, Store, unwanted
from nms.warehouse.repository import ExportRepository, FeedRepository
from nms.warehouse.settings import WarehouseSettings

log = logging.getLogger(__name__)

APART: Final = "export-run"
SWEEP_SECONDS: Final = 60.0
EXPORTS: Final = 2
"""Exports that a process writes at a time; each keeps one of the three connections of its pool."""


class Progress:
    """How many records are written; never fewer than an observer saw before."""

    def __init__(self, claimed: Claimed, estimate: int | None) -> None:
        seen = claimed.run.progress or {}
        self._seen = int(seen.get("current") or 0)
        self._estimate = estimate
        self._claimed = claimed
        self._rows = 0

    async def report(self, rows: int, size: int) -> None:
        """So many more; raises LeaseLost."""
        self._rows += rows
        current = max(self._rows, self._seen)
        total = None if self._estimate is None else max(self._estimate, current)
        phase = "exporting" if self._rows >= self._seen else "exporting again"
        progress = {"current": current, "total": total, "unit": "records", "phase": phase, "bytes": size}
        await self._claimed.report(progress)


class Exporter:
    """The handler of exports."""

    def __init__(self, repository: ExportRepository, store: Store, keep_days: float) -> None:
        self._repository = repository
        self._store = store
        self._keep = keep_days * DAY

    async def export(self, claimed: Claimed) -> None:
        """Write the file from the beginning, until asked to stop; raises LeaseLost and what hinders it."""
        working = asyncio.create_task(self._export(claimed))
        stopping = asyncio.create_task(claimed.stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait({working})
        if not working.cancelled():
            working.result()

    async def _export(self, claimed: Claimed) -> None:
        asked = Asked.of(claimed.run)
        entities = Entities(lambda: None)
        await entities.look()
        extract = read_extract(entities.find(asked.entity), asked)
        progress = Progress(claimed, await self._repository.estimate_rows(asked.entity))
        name = f"{asked.entity}-{claimed.run.id}-{claimed.epoch}{ending(asked.format, asked.compression)}"
        with self._store.written(name) as draft:
            place = await find_place(await FeedRepository.open(), entities)
            closing = await write(extract, place, partial(_take, draft, progress), apart=APART)
        point("export.written")
        async with self._repository.transaction() as tx:
            await claimed.report({"current": closing.rows, "total": closing.rows, "unit": "records",
                                  "phase": "exported", "bytes": draft.size}, tx=tx)  # fmt: skip
            await tx.update_exported(claimed.run.id, (socket.gethostname(), name, draft.size), closing, self._keep)


async def _take(draft: Draft, progress: Progress, data: bytes, rows: int) -> None:
    await draft.write(data)
    await progress.report(rows, draft.size)
    point("export.piece")


async def sweep(repository: ExportRepository, store: Store, stop: asyncio.Event) -> None:
    """Forget what expired and remove files that nobody will ask for, until told to stop; any process may do it."""
    while not stop.is_set():
        try:
            await sweep_once(repository, store)
        except (Problem, OSError) as error:
            log.warning("exports that expired could not be removed: %s", error)
        await first_of(stop, timeout=SWEEP_SECONDS)


async def sweep_once(repository: ExportRepository, store: Store) -> None:
    """Forget what expired and remove files that nobody will ask for."""
    await repository.delete_expired()
    claims = store.claims()
    wanted = await repository.list_wanted(sorted({run for run, _ in claims.values()}))
    for name in unwanted(claims, wanted):
        store.remove(name)


async def work_exports(stop: asyncio.Event) -> None:
    """Claim exports and write their files until told to stop."""
    role = read_settings(WarehouseSettings)
    repository, store = await ExportRepository.open(), Store.of(get_settings(), role)
    crew = Crew(
        await DwhRunRepository.open(),
        {KIND: Exporter(repository, store, role.export_keep).export},
        worker=f"{socket.gethostname()}:{os.getpid()}",
        size=EXPORTS,
        lease=role.lease,
    )
    async with together() as duties:
        duties.create_task(crew.run(stop))
        duties.create_task(sweep(repository, store, stop))
