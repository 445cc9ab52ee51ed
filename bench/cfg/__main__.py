"""`python -m bench.cfg`: many who write one document, and many who watch: print the table, store it.

Non-zero where an update is lost, a revision is missing, or somebody hears too late.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.auth.figure import Figure, show, store
from bench.cfg.place import Place, open_place, read_history
from bench.report import RESULTS

WRITERS, CHANGES = 32, 2_000
WATCHERS, HEARD = 200, 5_000
LATE_MS = 1_000.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.cfg", description=__doc__)
    parser.add_argument("--short", action="store_true", help="few writers, watchers and change sets: that it runs")
    parser.add_argument("--writers", type=int, help=f"{WRITERS} unless --short")
    parser.add_argument("--changes", type=int, help=f"change sets of each writer; {CHANGES} unless --short")
    parser.add_argument("--watchers", type=int, help=f"{WATCHERS} unless --short")
    parser.add_argument("--heard", type=int, help=f"changes that are watched; {HEARD} unless --short")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    options = parser.parse_args(arguments)
    short = (4, 10, 20, 40) if options.short else (WRITERS, CHANGES, WATCHERS, HEARD)
    for name, usual in zip(("writers", "changes", "watchers", "heard"), short, strict=True):
        setattr(options, name, getattr(options, name) or usual)
    return options


async def measure(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        async with open_place(Path(folder)) as place:
            return [
                *await watched(place, options.watchers, options.heard),
                *await written(place, options.writers, options.changes),
            ]


async def watched(place: Place, watchers: int, changes: int) -> list[Figure]:
    """One writer as fast as it goes, and all who watch."""
    since = await place.newest()
    # The writer begins with a change set of its own.
    process = await place.start("watchers", watchers, since, since + changes + 1)
    assert process.stdout is not None
    await process.stdout.readline()
    wrote = await place.finish(await place.start("writers", 1, changes))
    heard = await place.finish(process)
    more = {"p50, ms": heard["p50"], "longest, ms": heard["longest"], "changes/s": wrote["rate"]}
    return [
        Figure(f"{watchers} watchers x {changes + 1} changes: watchers that missed one", "", [heard["missed"]], 0),
        Figure(f"{watchers} watchers: p99 from stored to heard", "ms", [heard["p99"]], LATE_MS, more=more),
    ]


async def written(place: Place, writers: int, changes: int) -> list[Figure]:
    """All raise one number under If-Match."""
    before = await place.newest()
    told = await place.finish(await place.start("writers", writers, changes))
    history = await read_history(place.database, before)
    lost = history["lost"] + abs(told["stored"] - told["number"]) + abs(writers * changes - told["stored"])
    more = {"refused with 412 for each": told["refused"] / told["stored"], "seconds": told["seconds"]}
    return [
        Figure(f"{writers} writers x {changes} change sets: updates lost", "", [lost], 0),
        Figure(f"{history['revisions']} revisions: gaps in their numbers", "", [history["gaps"]], 0),
        Figure(f"{writers} writers: change sets stored", "/s", [told["rate"]], more=more),
    ]


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    figures = asyncio.run(measure(options))
    console = Console(width=None if sys.stdout.isatty() else 180)
    show(figures, console, "cfg")
    console.print(f"stored in {store(figures, options.results, 'cfg')}")
    late = [one for one in figures if not one.holds and not (options.short and one.unit == "ms")]
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
