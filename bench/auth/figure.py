"""Figures with their bars: the table on the terminal and the result file."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Figure:
    """One thing measured several times; its median is judged, a floor says that more is better."""

    name: str
    unit: str
    trials: list[float]
    bar: float | None = None
    floor: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.trials)

    @property
    def holds(self) -> bool:
        """A figure without a bar always holds."""
        return self.bar is None or (self.median >= self.bar if self.floor else self.median <= self.bar)

    @property
    def verdict(self) -> str:
        """`yes`, `NO`, or nothing where there is no bar."""
        return "" if self.bar is None else "yes" if self.holds else "NO"

    @property
    def allowed(self) -> str:
        """The bar as it is read."""
        return "" if self.bar is None else f"{'>=' if self.floor else '<='} {self.bar:,g} {self.unit}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median, "holds": self.holds}


def show(figures: Sequence[Figure], console: Console, title: str = "auth") -> None:
    """Print what was measured, and how it stands to the bars."""
    table = Table("figure", "measured", "trials", "bar", "holds", "more", title=title)
    for one in figures:
        trials = " ".join(f"{value:.4g}" for value in one.trials)
        more = ", ".join(f"{name} {value:.4g}" for name, value in one.more.items() if isinstance(value, (int, float)))
        table.add_row(one.name, f"{one.median:,.4g} {one.unit}", trials, one.allowed, one.verdict, more)
    console.print(table)


def store(figures: Sequence[Figure], folder: Path, name: str = "auth") -> Path:
    """Write one result file and answer its path."""
    now = datetime.now(UTC)
    facts = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": sys.version.split()[0]},
        "figures": [one.to_dict() for one in figures],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    return path
