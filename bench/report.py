"""The table on the terminal and the result file; each line of the verdict is a bar of section 12."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.trial import Outcome, find

RESULTS = Path(__file__).parent / "results"
OURS, NATIVE, PIPE = "nms", "own subscription", "copy pipe"


@dataclass(frozen=True)
class Bar:
    """A figure of ours and what it must be; `ratio` is measured / allowed, so <= 1 holds."""

    sentence: str
    measured: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.measured <= self.allowed


def judge(outcomes: Sequence[Outcome]) -> list[Bar]:
    """The bars of what was measured; what was not measured has none."""
    bars: list[Bar] = []
    copy, copy_pipe, copy_native = (find(outcomes, "initial copy", who) for who in (OURS, PIPE, NATIVE))
    if copy and copy_pipe:
        bars.append(Bar("initial copy: time / time of the copy pipe", copy.median / copy_pipe.median, 1.3))
    if copy and copy_native:
        bars.append(Bar("initial copy: time / time of the own subscription", copy.median / copy_native.median, 1.0))
    drain, drain_native = (find(outcomes, "catch-up", who) for who in (OURS, NATIVE))
    if drain and drain_native:
        bars.append(Bar("catch-up: time / time of the own subscription", drain.median / drain_native.median, 1.25))
    large, large_native = (find(outcomes, "large transaction", who) for who in (OURS, NATIVE))
    if large and large_native:
        bars.append(
            Bar("large transaction: time / time of the own subscription", large.median / large_native.median, 1.0)
        )
    live = find(outcomes, "latency", OURS)
    if live:
        bars += [Bar("latency p50, ms", live.median, 5.0), Bar("latency p99, ms", live.median_of("p99"), 30.0)]
    huge = find(outcomes, "huge transaction", OURS)
    if huge:
        bars += [
            Bar("huge transaction: peak resident, MiB", huge.usage.peak_mib, 200.0),
            Bar("huge transaction: bytes spilled at the source", huge.median_of("spill_bytes"), 0.0),
            Bar(
                "huge transaction: last row at our reader after commit, s", huge.median_of("last_row_after_commit"), 1.0
            ),
        ]
    idle = find(outcomes, "idle", OURS)
    if idle:
        bars.append(Bar("idle pipeline: log retained, MiB", idle.median, 64.0))
    return bars


def show(outcomes: Sequence[Outcome], bars: Sequence[Bar], console: Console) -> None:
    """Print what was measured, then how it stands to the bars."""
    table = Table("workload", "contestant", "median", "trials", "more", "cpu s", "peak MiB", title="Side by side")
    for one in outcomes:
        more = ", ".join(f"{name} {one.median_of(name):,.4g}" for name in one.trials[0].more)
        trials = " ".join(f"{trial.value:.2f}" for trial in one.trials)
        ours = (f"{one.usage.cpu_seconds:.2f}", f"{one.usage.peak_mib:.0f}") if one.contestant == OURS else ("", "")
        table.add_row(one.title, one.contestant, f"{one.median:.2f} {one.unit}", trials, more, *ours)
    console.print(table)
    verdict = Table("bar", "measured", "allowed", "holds", title="Bars")
    for bar in bars:
        verdict.add_row(bar.sentence, f"{bar.measured:.3g}", f"{bar.allowed:g}", "yes" if bar.holds else "NO")
    console.print(verdict)


def store(outcomes: Sequence[Outcome], bars: Sequence[Bar], version: str, folder: Path = RESULTS) -> Path:
    """Write one result file and answer its path."""
    now = datetime.now(UTC)
    facts = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": sys.version.split()[0]},
        "postgresql": version,
        "outcomes": [one.to_dict() for one in outcomes],
        "bars": [{"bar": b.sentence, "measured": b.measured, "allowed": b.allowed, "holds": b.holds} for b in bars],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    return path
