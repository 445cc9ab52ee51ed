"""What a pipeline between two PostgreSQL systems is opened with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nms.common.flow import DatasetSpec, Position
from nms.common.rounds import Rounds
from nms.connectors.postgres.compare.statements import Condition
from nms.connectors.postgres.libpq import Access

Drift = Literal["propagate", "ignore", "halt"]
"""What becomes of the target when a table of the source changes its columns."""


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule as declared: columns of the source with the values of which each has one (None: null); what is taken."""

    when: tuple[tuple[str, tuple[str | None, ...]], ...]
    take: tuple[str, ...]

    def condition(self, names: Sequence[str]) -> Condition:
        """The condition by the places of its columns among names."""
        return Condition(tuple((names.index(column), values) for column, values in self.when))

    def places(self, names: Sequence[str]) -> tuple[int, ...]:
        """The places of the columns that are taken."""
        return tuple(names.index(column) for column in self.take)


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """What it takes to open a pipeline; `known` is the last position that the target is known to have made durable.

    `capture` is `log` or one that works in rounds, which begin `every` so many seconds, or when `rounds` says so where
    that is given; `change_log` says that triggers at the source note the keys of what changes. `rules` are those of
    datasets that are compared by one. `shared` says that others write the target tables too. `back` is how changes of
    the target are captured where the pipeline goes both ways, else empty; `follows_deletes` says that then there may be
    any number of deletions at once.
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
    rounds: Rounds | None = None
    change_log: bool = False
    shared: bool = False
    drift: Drift = "ignore"
    back: Literal["", "log", "poll"] = ""
    follows_deletes: bool = False
    rules: Mapping[str, RuleSpec] = field(default_factory=dict)

    @property
    def only_reads(self) -> bool:
        """Whether nothing is asked of the source but to be read, so that a standby will do."""
        return self.capture == "compare" and not self.rules
