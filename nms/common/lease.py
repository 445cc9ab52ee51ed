"""A run in a worker's hands: its lease, its fence, what it reports and why it must stop."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, cast

from nms.common import clock
from nms.common.db.repositories import BaseRepository
from nms.common.order import Run, RunState, queries
from nms.common.problem import Problem, Retry

REPORT_SECONDS = 0.2
"""Progress alone is written at most this often; a checkpoint is written at once."""
RATE_MEMORY = 0.3
"""The weight of the newest reading in the smoothed rate."""


class LeaseLost(Problem):
    """Another worker has the run now, or it is over; nothing was written."""

    status, code, retry, title = 409, "lease-lost", Retry.NEVER, "The lease of this run is lost"
    remedy = "Nothing is to be done: whoever has the run now goes on from its checkpoint."


class Stop(StrEnum):
    """Why a handler must stop."""

    CANCELLED = "cancelled"
    LOST = "lost"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `current` of `total` units in a phase; the rate (units/s) and the ETA (s) are added for you."""

    current: float
    total: float | None = None
    unit: str = "items"
    phase: str = ""


class Meter:
    """Turns readings of progress into a smoothed rate and a time of arrival."""

    def __init__(self, seconds: clock.Seconds = clock.monotonic) -> None:
        self._seconds = seconds
        self._last: tuple[str, float, float] | None = None
        self._rate: float | None = None

    def read(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """The progress with `rate` (units/s) and `eta` (s); None where they cannot be known yet."""
        current, phase, at = float(progress.get("current") or 0), str(progress.get("phase") or ""), self._seconds()
        if self._last is None or self._last[0] != phase or current < self._last[1]:
            self._rate, self._last = None, (phase, current, at)
        elif at > self._last[2]:
            fresh = (current - self._last[1]) / (at - self._last[2])
            self._rate = fresh if self._rate is None else self._rate + RATE_MEMORY * (fresh - self._rate)
            self._last = (phase, current, at)
        total = progress.get("total")
        known = total is not None and self._rate is not None and self._rate > 0
        eta = max(0.0, float(cast(float, total)) - current) / self._rate if known and self._rate else None
        rate = None if self._rate is None else round(self._rate, 3)
        return {**progress, "rate": rate, "eta": None if eta is None else round(eta, 1)}


class Claimed:
    """A claimed run: report through it, and stop when `stopping` is set (`reason` says why)."""

    def __init__(self, repository: BaseRepository, run: Run) -> None:
        self.run = run
        self.stopping = asyncio.Event()
        self.reason: Stop | None = None
        self.checkpoint: dict[str, Any] | None = run.checkpoint
        self._repository = repository
        self._meter = Meter()
        self._pending: dict[str, Any] | None = None
        self._written_at = float("-inf")

    @property
    def epoch(self) -> int:
        """The fence: higher than in every earlier claim of any run."""
        return self.run.epoch

    def stop(self, reason: Stop) -> None:
        """Ask the handler to stop; a lost lease outweighs a cancel, a cancel outweighs a shutdown."""
        order = (None, Stop.SHUTDOWN, Stop.CANCELLED, Stop.LOST)
        if order.index(reason) > order.index(self.reason):
            self.reason = reason
        self.stopping.set()

    async def report(
        self,
        progress: Progress | Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
        *,
        tx: BaseRepository | None = None,
    ) -> None:
        """Write progress and checkpoint under the fence; raises LeaseLost when the run is another's.

        With `tx` it becomes part of that transaction. Progress alone is written at most every 0.2 s, the newest
        at the latest when the handler ends.
        """
        if progress is not None:
            values = asdict(progress) if isinstance(progress, Progress) else dict(progress)
            self._pending = self._meter.read(values)
        hurried = checkpoint is not None or tx is not None
        if not hurried and clock.monotonic() - self._written_at < REPORT_SECONDS:
            return
        await self._write(None if checkpoint is None else dict(checkpoint), tx or self._repository)

    async def flush(self) -> None:
        """Write progress that waits for its turn."""
        if self._pending is not None:
            await self._write(None, self._repository)

    async def _write(self, checkpoint: dict[str, Any] | None, repository: BaseRepository) -> None:
        pending, self._pending = self._pending, None
        self._written_at = clock.monotonic()
        state = await queries.update_report(
            repository.connection, id=self.run.id, epoch=self.epoch, progress=pending, checkpoint=checkpoint
        )
        self._heed(state)
        if checkpoint is not None:
            self.checkpoint = checkpoint

    async def fence(self, tx: BaseRepository) -> None:
        """Hold the run until the caller's transaction ends, so that nobody can take it over before the commit.

        Renewals go on meanwhile. Raises LeaseLost; the database must be the one of the run.
        """
        self._heed(await queries.get_fence(tx.connection, id=self.run.id, epoch=self.epoch))

    async def succeed(self) -> None:
        """End the run as succeeded; raises LeaseLost."""
        await self._end(RunState.SUCCEEDED, None)

    async def fail(self, problem: Mapping[str, Any]) -> None:
        """End the run as failed; raises LeaseLost."""
        await self._end(RunState.FAILED, problem)

    async def cancel(self, problem: Mapping[str, Any] | None = None) -> None:
        """End a run whose cancel was requested; raises LeaseLost."""
        await self._end(RunState.CANCELLED, problem)

    async def _end(self, state: RunState, problem: Mapping[str, Any] | None) -> None:
        self._demand(
            await queries.update_ended(
                self._repository.connection,
                id=self.run.id,
                epoch=self.epoch,
                state=state,
                problem=None if problem is None else dict(problem),
            )
        )

    async def postpone(self, delay: float, problem: Mapping[str, Any]) -> None:
        """Put the run aside for `delay` seconds; raises LeaseLost."""
        self._demand(
            await queries.update_retrying(
                self._repository.connection, id=self.run.id, epoch=self.epoch, problem=dict(problem), delay=delay
            )
        )

    async def release(self) -> None:
        """Give the run back, due at once for any worker; raises LeaseLost."""
        self._demand(await queries.update_released(self._repository.connection, id=self.run.id, epoch=self.epoch))

    def _heed(self, state: str | None) -> None:
        if self._demand(state) is RunState.CANCELLING:
            self.stop(Stop.CANCELLED)

    def _demand(self, state: str | None) -> RunState:
        if state is None:
            self.stop(Stop.LOST)
            raise LeaseLost(f"Run {self.run.id} is no longer this worker's.", run=self.run.id, epoch=self.epoch)
        return RunState(state)
