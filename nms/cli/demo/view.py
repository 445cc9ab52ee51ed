"""What there is to see of the demo at a moment."""

import time
from dataclasses import dataclass, field
from typing import Any

from nms.cli.demo.traffic import Written
from nms.sync.models import Pipeline


@dataclass(frozen=True)
class Copied:
    """How far the first copy of a dataset is; `of` is an estimate."""

    dataset: str
    rows: int
    of: int
    done: bool


@dataclass
class View:
    """What the screen shows; `to_go` is how many bytes of log are unconfirmed, once writing has ended."""

    title: str = "Setting up"
    pipelines: list[Pipeline] = field(default_factory=list)
    workers: dict[str, str] = field(default_factory=dict)
    written: Written = field(default_factory=Written)
    writing_until: float | None = None
    to_go: int | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds for which the company goes on writing."""
        return None if self.writing_until is None else max(0.0, self.writing_until - time.monotonic())

    @property
    def epochs(self) -> dict[str, int]:
        """How often each pipeline was taken over, of those whose worker has told."""
        return {one.name: one.status["epoch"] for one in self.pipelines if one.status.get("epoch")}

    @property
    def copied(self) -> list[Copied]:
        """The progress of each dataset."""
        return [
            _read_progress(name, state)
            for pipeline in self.pipelines
            for name, state in (pipeline.status.get("tables") or {}).items()
        ]

    @property
    def applied(self) -> int:
        """Changes that the target has taken one by one, as far as the workers told; others came with the first copy."""
        return sum(pipeline.status.get("counts", {}).get("changes", 0) for pipeline in self.pipelines)


def _read_progress(name: str, state: dict[str, Any]) -> Copied:
    """A worker that took a pipeline over does not know any more how many rows a finished dataset had."""
    rows, about, done = state["copied"], state["of"] or 0, bool(state["done"])
    return Copied(name, max(rows, about) if done else rows, max(rows, about), done)
