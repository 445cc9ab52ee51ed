"""`python -m bench.inbox`: the inbox beside bare servers: print the table, store it; non-zero on a missed bar."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.auth.figure import Figure, show, store
from bench.inbox.place import BARE, OURS, Place, open_place
from bench.report import RESULTS

CLIENTS = 64
RATIO, P99 = 0.8, 15.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.inbox", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one turn of a second of two: shows that it runs")
    parser.add_argument("--turns", type=int, help="how often each contestant has its turn; 5 unless --short")
    parser.add_argument("--seconds", type=float, help="of one turn; 6 unless --short")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


async def measure(names: list[str], turns: int, seconds: float) -> list[Figure]:
    """Each contestant in turn, another one first each time; a first round warms them up."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        async with open_place(Path(folder), names) as place:
            for name in names:
                await place.load(name, CLIENTS, min(1.0, seconds / 2))
            for turn in range(turns):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    found[name].append(await take_turn(place, name, seconds))
    return judge(found)


async def take_turn(place: Place, name: str, seconds: float) -> dict[str, float]:
    told = await place.load(name, CLIENTS, seconds)
    print(f"{BARE.get(name, name):28} {told['rate']:8,.0f}/s   p99 {told['p99']:6.1f} ms", file=sys.stderr)
    return told


def judge(found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """The figures with their bars: ours by the server that shares its commits in the same turn, and our p99."""
    ours = found[OURS]
    ratios = [one["rate"] / bare["rate"] for one, bare in zip(ours, found["shared"], strict=True)]
    figures = [
        Figure("rate of ours / rate of bare ASGI with shared commits", "x", ratios, RATIO, floor=True),
        Figure(f"ours: p99 with {CLIENTS} connections", "ms", [one["p99"] for one in ours], P99),
    ]
    for name, told in found.items():
        names = ("p50", "p99", "cpu of server, us", "cpu of PostgreSQL, us")
        more = {key: statistics.median(one[key] for one in told) for key in names}
        figures.append(Figure(f"{BARE.get(name, name)}: rate", "/s", [one["rate"] for one in told], more=more))
    return figures


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    turns = options.turns or (1 if options.short else 5)
    seconds = options.seconds or (1.0 if options.short else 6.0)
    names = ["shared", OURS] if options.short else [*BARE, OURS]
    figures = asyncio.run(measure(names, turns, seconds))
    console = Console(width=None if sys.stdout.isatty() else 180)
    show(figures, console, "inbox")
    console.print(f"stored in {store(figures, options.results, 'inbox')}")
    return 0 if options.short or all(one.holds for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
