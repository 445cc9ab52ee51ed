"""`python -m bench.auth`: measure auth, print the table, store the result; non-zero exit when a bar is missed."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.auth.enumeration import measure_enumeration
from bench.auth.figure import Figure, show, store
from bench.auth.guarding import measure_guard
from bench.auth.place import open_place
from bench.auth.tokens import measure_flood, measure_logins, measure_refreshes
from bench.report import RESULTS

PARTS = ("guard", "refreshes", "logins", "flood", "enumeration")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.auth", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, one trial: shows that it runs, not how fast")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part by name; may be repeated")
    parser.add_argument("--trials", type=int, help="how often each figure is taken; 3 unless --short")
    parser.add_argument("--workers", type=int, default=2, help="processes of the role")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


async def measure(parts: list[str], trials: int, workers: int, *, short: bool) -> list[Figure]:
    """The figures of these parts, in their order."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        if "guard" in parts:
            figures += await measure_guard(Path(folder), trials, short=short)
        if not {*parts} - {"guard"}:
            return figures
        async with open_place(Path(folder), workers) as place:
            if "enumeration" in parts:
                figures += await measure_enumeration(place, trials, 20 if short else 400)
            if "refreshes" in parts:
                figures.append(await measure_refreshes(place, trials, 8 if short else 64, 1 if short else 8))
            if "logins" in parts:
                figures.append(await measure_logins(place, trials, 8, 1 if short else 8))
            if "flood" in parts:
                figures += await measure_flood(place, trials, 60 if short else 500)
    return figures


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 180)
    trials = options.trials or (1 if options.short else 3)
    figures = asyncio.run(measure(options.only or [*PARTS], trials, options.workers, short=options.short))
    show(figures, console)
    console.print(f"stored in {store(figures, options.results)}")
    return 0 if options.short or all(one.holds for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
