"""Run workloads: contestants take turns, trial by trial, so that a slow minute of the machine hits all."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console

from bench.contestant import Contestant
from bench.place import open_place, open_servers
from bench.trial import Outcome, Trial, Workload
from tests.services.postgres import PostgresServer

Entry = tuple[Workload, Sequence[type[Contestant]]]


async def run_all(entries: Sequence[Entry], version: str, trials: int, console: Console) -> list[Outcome]:
    """All workloads, each with its contestants and `trials` turns; those that agree on settings share servers."""
    outcomes: list[Outcome] = []
    for settings, group in groupby(entries, key=lambda entry: entry[0].settings):
        async with open_servers(version, settings) as servers:
            for workload, contestants in group:
                outcomes += await take_turns(workload, contestants, servers, (trials, console))
    return outcomes


async def take_turns(
    workload: Workload,
    contestants: Sequence[type[Contestant]],
    servers: list[PostgresServer],
    how: tuple[int, Console],
) -> list[Outcome]:
    """One workload: every contestant, `trials` times, each time in a fresh place."""
    trials, console = how
    found: dict[str, list[Trial]] = {}
    for turn in range(trials):
        for make in contestants:
            contestant = make()
            async with open_place(servers, workload.schema) as place:
                await contestant.prepare(place)
                trial = await workload.run(contestant, place)
            found.setdefault(contestant.name, []).append(trial)
            console.print(f"{workload.title}: {contestant.name} {turn + 1}/{trials}: {trial.value:.2f} {workload.unit}")
    return [Outcome(workload.name, workload.title, workload.unit, name, results) for name, results in found.items()]
