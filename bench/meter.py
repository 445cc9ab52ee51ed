"""CPU seconds and peak memory of processes, from /proc."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass
class Usage:
    """What a set of processes used; memory is the peak of each, summed, in MiB."""

    cpu_seconds: float = 0.0
    peak_mib: float = 0.0


@dataclass
class Meter:
    """Measures from now on; a process that ends meanwhile, as a worker of autovacuum, is left out."""

    pids: Sequence[int]
    begun: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for pid in self.pids:
            with suppress(*GONE):
                self.begun[pid] = cpu_seconds(pid)
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the high-water mark, see proc(5)

    def read(self) -> Usage:
        usage = Usage()
        for pid, begun in self.begun.items():
            with suppress(*GONE):
                usage.cpu_seconds += cpu_seconds(pid) - begun
                usage.peak_mib += peak_mib(pid)
        return Usage(round(usage.cpu_seconds, 2), round(usage.peak_mib, 1))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_mib(pid: int) -> float:
    """The high-water mark of resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
