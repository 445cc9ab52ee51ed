"""What the last round of a comparison found and did."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nms.common.change import Change, Op


@dataclass(slots=True)
class Tally:
    """Of one dataset: rows on each side, what differed between them, what was written to each side.

    `rows` counts what was read; under a rule that is the rows that it holds for. `left` are rows that moved meanwhile,
    `refused` those that the source did not take.
    """

    rows: tuple[int, int] = (0, 0)
    found: tuple[int, int] = (0, 0)
    written: dict[str, int] = field(default_factory=dict)
    taken: int = 0
    left: int = 0
    refused: int = 0

    def begin(self) -> None:
        """A new round."""
        self.written = {}
        self.taken = self.left = self.refused = 0

    def add(self, changes: Iterable[Change]) -> None:
        """Count what goes to the target."""
        for change in changes:
            self.written[change.op.value] = self.written.get(change.op.value, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "source": {"rows": self.rows[0], "apart": self.found[0], "taken": self.taken, "refused": self.refused},
            "target": {"rows": self.rows[1], "apart": self.found[1], **{op.value: self.written.get(op.value, 0)
                       for op in (Op.INSERT, Op.UPDATE, Op.DELETE)}},
            "left": self.left,
        }  # fmt: skip
