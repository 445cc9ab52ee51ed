"""How the demo ended: what both sides hold, what was written."""

from dataclasses import dataclass
from typing import Any

from nms.cli.demo.digest import Difference
from nms.cli.demo.traffic import Written


@dataclass
class Outcome:
    """How the demo ended."""

    differences: list[Difference]
    written: Written
    applied: int
    takeover_seconds: float
    seconds: float

    @property
    def changes(self) -> int:
        """Row changes that the source committed while the pipelines ran."""
        return self.written.changes

    @property
    def rows(self) -> int:
        """Rows at the source."""
        return sum(one.rows for one in self.differences)

    @property
    def lost(self) -> int:
        """Rows whose last change is not at the target."""
        return sum(one.lost for one in self.differences)

    @property
    def doubled(self) -> int:
        """Rows that the target has and the source has not, or not as often."""
        return sum(one.surplus for one in self.differences)

    @property
    def in_sync(self) -> bool:
        """Whether both sides hold the same rows."""
        return not (self.lost or self.doubled)

    def to_dict(self) -> dict[str, Any]:
        """The document of `--json`."""
        return {
            "in_sync": self.in_sync,
            "rows": self.rows,
            "changes": self.changes,
            "lost": self.lost,
            "doubled": self.doubled,
            "written": {
                "pgbench_transactions": self.written.pgbench_transactions,
                "subscription_transactions": self.written.subscription_transactions,
                "subscription_changes": self.written.subscription_changes,
            },
            "applied_after_the_copy": self.applied,
            "takeover_seconds": round(self.takeover_seconds, 2),
            "seconds": round(self.seconds, 1),
            "datasets": [one.to_dict() for one in self.differences],
            "detail": self.sentence(),
        }

    def sentence(self) -> str:
        """The last line."""
        word = "in sync" if self.in_sync else "out of sync"
        return f"{word}: {self.rows:,} rows, {self.changes:,} changes, {self.lost:,} lost, {self.doubled:,} doubled"
