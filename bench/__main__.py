"""`python -m bench`: measure, print the table, store the result; non-zero exit when a bar is missed."""

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console

from bench.contestants.nms import Nms
from bench.contestants.pipe import CopyPipe
from bench.contestants.subscription import Subscription
from bench.report import RESULTS, judge, show, store
from bench.run import Entry, run_all
from bench.workloads.backlog import Backlog
from bench.workloads.copy import InitialCopy
from bench.workloads.huge import HugeTransaction
from bench.workloads.idle import Idle
from bench.workloads.large import LargeUpdate
from bench.workloads.latency import Latency


def entries(*, short: bool, huge: bool, idle: bool) -> list[Entry]:
    """What is measured, and who takes part."""
    both = (Subscription, Nms)
    if huge or idle:
        chosen: list[Entry] = []
        if huge:
            chosen.append((HugeTransaction(50_000 if short else 5_000_000), (Nms,)))
        if idle:
            chosen.append((Idle(64 if short else 2048), (Nms,)))
        return chosen
    if short:
        return [
            (InitialCopy(20_000), (CopyPipe, *both)),
            (Backlog(2_000, 2_000), both),
            (LargeUpdate(10_000), both),
            (Latency(200, 3, 1), both),
        ]
    return [(InitialCopy(), (CopyPipe, *both)), (Backlog(), both), (LargeUpdate(), both), (Latency(), both)]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, one trial: shows that it runs, not how fast")
    parser.add_argument(
        "--huge", action="store_true", help="one transaction of 5,000,000 rows: memory, spilling, delay"
    )
    parser.add_argument("--idle", action="store_true", help="2 GB written elsewhere: what an idle pipeline retains")
    parser.add_argument("--only", action="append", help="a workload by name; may be repeated")
    parser.add_argument("--without", action="append", default=[], help="a contestant to leave out")
    parser.add_argument("--trials", type=int, help="turns of each contestant; 3 unless --short, --huge or --idle")
    parser.add_argument(
        "--version", default="18", help="PostgreSQL of both servers: 16 or 18 of the wheel, 15 of Debian"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = [
        (workload, [make for make in contestants if make.name not in options.without])
        for workload, contestants in entries(short=options.short, huge=options.huge, idle=options.idle)
        if not options.only or workload.name in options.only
    ]
    trials = options.trials or (1 if options.short or options.huge or options.idle else 3)
    outcomes = asyncio.run(run_all(chosen, options.version, trials, console))
    bars = judge(outcomes)
    show(outcomes, bars, console)
    console.print(f"stored in {store(outcomes, bars, options.version, options.results)}")
    return 0 if options.short or all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
