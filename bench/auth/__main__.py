"""`python -m bench.auth`: measure auth, print the table, store the result; non-zero exit when a bar is missed."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.auth.figure import Figure, show, store
from bench.auth.guarding import measure_guard
from bench.report import RESULTS

PARTS = ("guard",)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.auth", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, one trial: shows that it runs, not how fast")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part by name; may be repeated")
    parser.add_argument("--trials", type=int, help="how often each figure is taken; 3 unless --short")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


async def measure(parts: list[str], trials: int, *, short: bool) -> list[Figure]:
    """The figures of these parts, in their order."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        if "guard" in parts:
            figures += await measure_guard(Path(folder), trials, short=short)
    return figures


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 180)
    trials = options.trials or (1 if options.short else 3)
    figures = asyncio.run(measure(options.only or [*PARTS], trials, short=options.short))
    show(figures, console)
    console.print(f"stored in {store(figures, options.results)}")
    return 0 if options.short or all(one.holds for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
