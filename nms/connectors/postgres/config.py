"""What a pipeline between two PostgreSQL systems is opened with."""

from dataclasses import dataclass
from pathlib import Path

from nms.common.flow import DatasetSpec, Position
from nms.connectors.postgres.libpq import Access


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """What it takes to open a pipeline; `known` is the last position that the target is known to have made durable.

    `capture` is `log` or one that works in rounds, which begin `every` so many seconds; `change_log` says that triggers
    at the source note the keys of what changes.
    `shared` says that others write the target tables too.
    """

    name: str
    slot: str
    source: Access
    target: Access
    datasets: tuple[DatasetSpec, ...]
    generation: int
    copy: bool
    heals: bool
    batch_changes: int
    wal_budget: int
    spool: Path
    spool_budget: int
    known: Position | None = None
    capture: str = "log"
    every: float = 10.0
    change_log: bool = False
    shared: bool = False
