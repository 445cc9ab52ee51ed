"""Where a pipeline stands: counts, lag and progress, as the API, the CLI and the run show them."""

import time
from dataclasses import dataclass, field
from typing import Any

from nms.common.flow import Applied, Batch, Opened, Position
from nms.common.ledger import Ledger
from nms.common.rounds import NEVER, Rounds
from nms.common.run import Claimed, Progress
from nms.sync.repository import SyncRepository

REPORT_SECONDS = 0.5


@dataclass(slots=True)
class Counts:
    """What was done since the pipeline was opened."""

    transactions: int = 0
    changes: int = 0
    rows: int = 0
    copied: int = 0
    folded: int = 0
    missing: int = 0
    refused: int = 0
    batches: int = 0

    def add(self, batch: Batch, applied: Applied) -> None:
        """Count an applied batch."""
        self.batches += 1
        self.transactions += batch.transactions
        if batch.load is not None:
            self.copied += applied.rows
            return
        self.changes += applied.changes
        self.rows += applied.rows
        self.folded += applied.folded
        self.missing += applied.missing


@dataclass(slots=True)
class Standing:
    """The standing of one opened pipeline, written to the own database every half second."""

    repository: SyncRepository
    claimed: Claimed
    name: str
    before: dict[str, Any]
    rounds: Rounds = field(default_factory=lambda: Rounds(NEVER))
    position: Position | None = None
    ledger: Ledger | None = None
    counts: Counts = field(default_factory=Counts)
    held: int = 0
    moved_at: float = field(default_factory=time.time)
    _began: float | None = None
    _meter: tuple[float, int] = (0.0, 0)
    _rate: float = 0.0

    def note(self, batch: Batch, applied: Applied) -> None:
        """Take note of an applied batch."""
        self.counts.add(batch, applied)
        if applied.durable:
            # What is told is taken for what the target has for ever: see TargetBehind.
            self.position = applied.position
        self.moved_at = time.time()
        self._began = None

    def begin(self) -> None:
        """Take note that a batch is being applied."""
        self._began = time.monotonic()

    async def report(self, opened: Opened) -> None:
        """Write the standing."""
        self._measure(time.monotonic())
        # By what the target has, not by what was read: the last chunk may still be under way.
        phase = "copying" if "tables" in (self.position or opened.position) else "streaming"
        status, served = self.status(opened), self.rounds.done
        # What only keeps a part of the source from being read.
        trouble = status.pop("trouble", None)
        phase = phase if trouble is None else "retrying"
        async with self.repository.transaction() as tx:
            # The pipeline before its run, as whoever pauses or resyncs it has them: two orders would deadlock.
            asked = await tx.update_status(self.name, phase, self.position, (status, trouble, served))
            await self.claimed.report(self._progress(opened, phase), tx=tx)
        self.rounds.ask(asked)

    async def say(self, phase: str, problem: dict[str, Any] | None = None) -> None:
        """Write a phase in which nothing moves; raises LeaseLost when it is another worker's to say."""
        async with self.repository.transaction() as tx:
            await tx.update_status(self.name, phase, self.position, (self.before, problem, 0))
            await self.claimed.fence(tx)

    def status(self, opened: Opened) -> dict[str, Any]:
        """Counts since the pipeline began, rate, lag, what each dataset has copied, what became of changes sent."""
        total = {name: self.before.get("counts", {}).get(name, 0) + value for name, value in self._counts().items()}
        return {
            "counts": total,
            "rate": round(self._rate, 1),
            "held": self.held,
            "moved_at": self.moved_at,
            "applying_for": 0.0 if self._began is None else round(time.monotonic() - self._began, 1),
            **({} if self.ledger is None else self.ledger.facts()),
            **opened.facts(),
        }

    def _counts(self) -> dict[str, int]:
        return {name: getattr(self.counts, name) for name in Counts.__dataclass_fields__}

    def _measure(self, now: float) -> None:
        then, done = self._meter
        total = self.counts.changes + self.counts.copied
        if then:
            self._rate = (total - done) / max(now - then, 0.001)
        self._meter = (now, total)

    def _progress(self, opened: Opened, phase: str) -> Progress:
        if phase == "copying":
            rows, estimate = opened.copied()
            return Progress(rows, max(rows, estimate), "rows", phase)
        return Progress(self.counts.changes, None, "changes", phase)


class PositionStore:
    """The position of a pipeline whose target cannot keep it, in the own database under the run's fence."""

    def __init__(self, repository: SyncRepository, claimed: Claimed, name: str) -> None:
        self._repository = repository
        self._claimed = claimed
        self._name = name

    async def load(self) -> Position | None:
        """The position last saved."""
        return await self._repository.get_position(self._name)

    async def save(self, position: Position) -> None:
        """Keep a position; raises LeaseLost when another worker has the pipeline."""
        async with self._repository.transaction() as tx:
            await self._claimed.fence(tx)
            await tx.upsert_position(self._name, position)
