"""The loop of one opened pipeline: take a batch, apply it, confirm it, report."""

import asyncio
import time
from typing import Any

from nms.common.flow import Applied, Batch, ChangeRefused, Opened
from nms.sync.position import REPORT_SECONDS, Standing
from nms.sync.quarantine import Quarantine

TICK_SECONDS = 0.5


class Applier:
    """Moves batches from an opened source to its target until cancelled or something is wrong."""

    def __init__(self, opened: Opened, quarantine: Quarantine, standing: Standing) -> None:
        self._opened = opened
        self._quarantine = quarantine
        self._standing = standing
        self._asked_at = 0.0
        self._durable = True

    async def run(self) -> None:
        """Run until cancelled; raises the Problem that ended it."""
        reporting = asyncio.create_task(self._report())
        batches = self._opened.source.batches()
        waiting: asyncio.Future[Batch] = asyncio.ensure_future(anext(batches))
        try:
            while True:
                awaited: set[asyncio.Future[Any]] = {waiting, reporting}
                await asyncio.wait(awaited, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if reporting.done():
                    reporting.result()
                if waiting.done():
                    await self._take(waiting.result())
                    waiting = asyncio.ensure_future(anext(batches))
                await self._tick()
        finally:
            waiting.cancel()
            reporting.cancel()
            await asyncio.gather(waiting, reporting, return_exceptions=True)
            await batches.aclose()

    async def _take(self, batch: Batch) -> None:
        empty = batch.small is not None and not (batch.small or batch.poison or batch.pages) and batch.load is None
        if empty and not batch.keep:
            # Nothing for the target: the source alone is told, so that idle tables retain no log.
            if self._durable:
                await self._opened.source.confirm(batch.position)
            return
        self._standing.begin()
        applied = await self._apply(batch)
        self._standing.note(batch, applied)
        self._durable = applied.durable
        if applied.durable:
            await self._opened.source.confirm(applied.position)

    async def _apply(self, batch: Batch) -> Applied:
        while True:
            try:
                applied = await self._opened.target.apply(await self._quarantine.divert(batch))
            except ChangeRefused as refused:
                self._quarantine.refuse(refused.change, refused.problem)
                self._standing.counts.refused += 1
            else:
                self._quarantine.keep(applied.position)
                return applied

    async def _report(self) -> None:
        # On its own, so that a batch that waits for a lock at the target is seen waiting.
        while True:
            await self._standing.report(self._opened)
            await self._standing.rounds.settled(REPORT_SECONDS)

    async def _tick(self) -> None:
        now = time.monotonic()
        if now - self._asked_at > TICK_SECONDS:
            self._asked_at = now
            self._standing.held = self._quarantine.count
            if self._quarantine.count:
                await self._quarantine.settle(self._standing.position or self._opened.position)
