"""One measurement, and what many of them say."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from bench.contestant import Contestant
from bench.meter import Usage
from bench.place import Place


@dataclass
class Trial:
    """One run of one contestant; value is what is compared, less is better."""

    value: float
    more: dict[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)


class Workload(Protocol):
    """A measurement that a contestant goes through in a fresh place."""

    name: str
    title: str
    unit: str
    schema: str
    settings: ClassVar[dict[str, str]]

    async def run(self, contestant: Contestant, place: Place) -> Trial: ...


@dataclass
class Outcome:
    """All trials of one contestant at one workload."""

    workload: str
    title: str
    unit: str
    contestant: str
    trials: list[Trial]

    @property
    def median(self) -> float:
        return statistics.median(trial.value for trial in self.trials)

    def median_of(self, name: str) -> float:
        return statistics.median(trial.more[name] for trial in self.trials)

    @property
    def usage(self) -> Usage:
        cpu = statistics.median(trial.usage.cpu_seconds for trial in self.trials)
        return Usage(cpu, max(trial.usage.peak_mib for trial in self.trials))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median}


def find(outcomes: Sequence[Outcome], workload: str, contestant: str) -> Outcome | None:
    """The outcome of a contestant at a workload, where it took part."""
    found = [one for one in outcomes if (one.workload, one.contestant) == (workload, contestant)]
    return found[0] if found else None
