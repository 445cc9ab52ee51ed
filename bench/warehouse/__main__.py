"""`python -m bench.warehouse`: reads of records beside bare servers and peers: print the table, store it.

Rates are what callers see, and tell nothing on a machine where others work; microseconds of CPU do. Both are told, the
bars are on rates. Non-zero on a missed bar.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.auth.figure import Figure, show, store
from bench.report import RESULTS
from bench.warehouse.place import BARE, DATASETTE, OURS, PEER, Place, open_place
from bench.warehouse.question import DEPTHS, WORKLOADS

CLIENTS = 16
RECORD, PAGE, DEPTH = 0.8, 1.3, 1.3
BARS = {"by id": ("ready", RECORD), "page of 100": ("built", PAGE)}
"""For each workload beside which contestant, and how many times its rate ours must be."""
CPU = "cpu, us"
Told = dict[tuple[str, str], list[dict[str, float]]]
"""What came of the loads, by workload and contestant."""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.warehouse", description=__doc__)
    parser.add_argument("--short", action="store_true", help="few records and contestants, short turns: that it runs")
    parser.add_argument("--rows", type=int, help="records; a million unless --short")
    parser.add_argument("--turns", type=int, help="how often each contestant has its turn; 5 unless --short")
    parser.add_argument("--seconds", type=float, help="of one load; 3 unless --short")
    parser.add_argument("--without-datasette", action="store_true", help="leave Datasette out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


async def measure(names: list[str], rows: int, turns: int, seconds: float) -> list[Figure]:
    """Each contestant in turn, another one first each time; a round before that warms them up."""
    found: Told = {}
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        async with open_place(Path(folder), names, rows) as place:
            for workload in WORKLOADS[:-1]:
                await place.compare(workload)
            for name, workload in loads(names) if turns > 1 else [(name, WORKLOADS[1]) for name in names]:
                await place.load(name, workload, CLIENTS, min(1.0, seconds / 2))
            for turn in range(turns):
                for name, workload in loads(names[turn % len(names) :] + names[: turn % len(names)]):
                    told = await take_turn(place, name, workload, seconds)
                    found.setdefault((workload, name), []).append(told)
    return judge(found)


def loads(names: list[str]) -> list[tuple[str, str]]:
    """Who is asked what: contestants beside each other in each workload; depth is asked of ours alone."""
    asked = [(name, workload) for workload in WORKLOADS for name in names if (name, workload) != (DATASETTE, "304")]
    return [*asked, *((OURS, depth) for depth in DEPTHS)]


async def take_turn(place: Place, name: str, workload: str, seconds: float) -> dict[str, float]:
    told = await place.load(name, workload, CLIENTS, seconds)
    cpu = f"cpu {told['cpu of server, us']:6.0f} + {told['cpu of PostgreSQL, us']:6.0f} us"
    print(f"{workload:18} {BARE.get(name, name):34} {told['rate']:8,.0f}/s   {cpu}", file=sys.stderr)
    return told


def judge(found: Told) -> list[Figure]:
    """The figures with their bars, each by the contestant of the same turn."""
    figures = []
    for workload, (beside, bar) in BARS.items():
        if (workload, beside) not in found:
            continue
        name = f"{workload}: rate of ours / rate of {BARE[beside]}"
        ratios = compare(found, workload, beside)
        cpu = statistics.median(1 / one for one in compare(found, workload, beside, CPU))
        figures.append(Figure(name, "x", ratios, bar, floor=True, more={"by CPU": cpu}))
    for workload, peer in found:
        if peer in ("routed", DATASETTE):
            name = f"{workload}: rate of ours / rate of {BARE.get(peer, peer)}"
            figures.append(Figure(name, "x", compare(found, workload, peer), 1.0, floor=True))
    shallow, deep = (found[depth, OURS] for depth in DEPTHS)
    costs = [one[CPU] / first[CPU] for one, first in zip(deep, shallow, strict=True)]
    figures.append(Figure("a page behind nine tenths of all records: CPU / CPU of the first page", "x", costs, DEPTH))
    for (workload, who), told in found.items():
        names = ("p50", "p99", "cpu of server, us", "cpu of PostgreSQL, us")
        more = {key: statistics.median(one[key] for one in told) for key in names}
        figures.append(
            Figure(f"{workload}, {BARE.get(who, who)}: rate", "/s", [one["rate"] for one in told], more=more)
        )
    return figures


def compare(found: Told, workload: str, beside: str, what: str = "rate") -> list[float]:
    """Ours by another one, turn by turn."""
    pairs = zip(found[workload, OURS], found[workload, beside], strict=True)
    return [one[what] / other[what] for one, other in pairs]


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    short = options.short
    with_peer = not (short or options.without_datasette)
    if with_peer and not PEER.exists():
        sys.exit("Datasette is not installed: run `make bench-warehouse`, or leave it out by --without-datasette")
    names = ["built", OURS] if short else [*BARE, *([DATASETTE] if with_peer else []), OURS]
    rows, turns = options.rows or (2_000 if short else 1_000_000), options.turns or (1 if short else 5)
    figures = asyncio.run(measure(names, rows, turns, options.seconds or (0.3 if short else 3.0)))
    console = Console(width=None if sys.stdout.isatty() else 180)
    show(figures, console, "warehouse")
    console.print(f"stored in {store(figures, options.results, 'warehouse')}")
    return 0 if short or all(one.holds for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
