"""`python -m bench.rest`: measure pulls side by side, print the table, store the result; non-zero on a missed bar."""

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console

from bench.auth.figure import Figure, show, store
from bench.report import RESULTS
from bench.rest.loads import DLT
from bench.rest.measure import KINDS, WIDE_RECORDS, measure_memory, measure_pace, measure_second_round, measure_speed
from bench.rest.place import open_place

PARTS = ("speed", "second", "memory", "pace")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.rest", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, one trial: shows that it runs, not how fast")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part by name; may be repeated")
    parser.add_argument("--trials", type=int, help="how often each figure is taken; 3 unless --short")
    parser.add_argument("--without-dlt", action="store_true", help="leave dlt out, which takes most of the time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


async def measure(options: argparse.Namespace) -> list[Figure]:
    """The figures that were asked for, in their order."""
    parts, short = options.only or PARTS, options.short
    trials = options.trials or (1 if short else 3)
    figures: list[Figure] = []
    async with open_place(3_000 if short else 100_000) as place:
        if "speed" in parts:
            with_dlt = not (short or options.without_dlt)
            kinds = [kind for kind in KINDS if not (short and kind.latency)]
            figures += [await measure_speed(place, kind, trials, with_dlt=with_dlt) for kind in kinds]
        if "pace" in parts and not short:
            figures.append(await measure_pace(place, trials, 0.9))
        if "memory" in parts and not short:
            figures.append(await measure_memory(place, WIDE_RECORDS, 400))
        if "second" in parts:
            figures.append(await measure_second_round(place, 10 if short else 1_000))
    return figures


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if not (options.short or options.without_dlt or DLT.exists()):
        sys.exit("dlt is not installed: run `make bench-rest`, or leave it out by --without-dlt")
    console = Console(width=None if sys.stdout.isatty() else 180)
    figures = asyncio.run(measure(options))
    show(figures, console, "rest")
    console.print(f"stored in {store(figures, options.results, 'rest')}")
    return 0 if options.short or all(one.holds for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
