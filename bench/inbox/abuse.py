"""`python -m bench.inbox.abuse`: what a crowd of strangers takes of the rate of good requests.

Good requests come at a pace that the server keeps without strangers. Beside it stand the rate of as many as it takes:
the crowd runs on the same machine, so that ratio charges its own work to the server, and that of neighbours; the share
of a core that the server itself spends on strangers does not. Non-zero on a missed bar.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

from bench.auth.figure import Figure, show, store
from bench.inbox.place import OURS, Place, open_place
from bench.report import RESULTS
from tests.service.role_process import ROOT, resident_mb

CLIENTS = 64
CPU = "cpu of server, us"
RATIO, SHARE, MEGABYTES, CROWD, PACE = 0.9, 0.1, 256.0, 1000, 2000.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.inbox.abuse", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="how often it is measured without and with the crowd")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument(
        "--crowd", type=int, default=CROWD, help="connections that are slow in the head, and in the body"
    )
    parser.add_argument("--pace", type=float, default=PACE, help="good requests a second that the server is to keep")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(arguments)


@asynccontextmanager
async def crowded(port: str, count: int, seen: Counter[str]) -> AsyncIterator[None]:
    """A crowd that has come, and what it saw when it has gone."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.inbox.strangers", port, str(count)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    if await process.stdout.readline() != b"here\n":
        raise RuntimeError("the crowd did not come")
    try:
        yield
    finally:
        process.terminate()
        output, _ = await process.communicate()
        seen.update(json.loads(output.splitlines()[-1]))


class Told:
    """What was seen, pair by pair."""

    def __init__(self) -> None:
        self.kept, self.waits, self.ratios = list[float](), list[float](), list[float]()
        self.shares, self.calm, self.megabytes = list[float](), list[float](), list[float]()
        self.seen: Counter[str] = Counter()

    def note(self, paced: dict[bool, dict[str, float]], full: dict[bool, dict[str, float]]) -> None:
        """One pair of each kind of load, by whether the crowd was there."""
        self.kept.append(paced[True]["rate"] / paced[False]["rate"])
        self.waits.append(paced[True]["p99"])
        self.ratios.append(full[True]["rate"] / full[False]["rate"])
        more = paced[True][CPU] - paced[False][CPU]
        self.shares.append(more * paced[True]["count"] / 1e6 / paced[True]["took"])
        self.calm.append(full[False]["rate"])
        told = f"paced {self.kept[-1]:.3f}   share {self.shares[-1]:.3f}   unpaced {self.ratios[-1]:.2f}"
        print(f"calm {self.calm[-1]:8,.0f}/s   {told}", file=sys.stderr)


async def measure(options: argparse.Namespace) -> list[Figure]:
    """Pairs, the calm first in every other one."""
    told = Told()
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        async with open_place(Path(folder), [OURS]) as place:
            role = place.servers[OURS].role
            await place.load(OURS, CLIENTS, 1.0)
            for pair in range(options.pairs):
                loads: dict[float, dict[bool, dict[str, float]]] = {options.pace: {}, 0.0: {}}
                for attacked in (False, True) if pair % 2 else (True, False):
                    for pace, found in loads.items():
                        found[attacked] = await _load(place, options, pace, told.seen if attacked else None)
                    told.megabytes.append(max(resident_mb(pid) for pid in role.family()))
                told.note(*loads.values())
            wrong = role.log.count("Traceback") + sum(count for text, count in told.seen.items() if " 5" in f" {text}")
    print(f"what the crowd saw: {dict(sorted(told.seen.items()))}", file=sys.stderr)
    return judge(options, told, wrong)


def judge(options: argparse.Namespace, told: Told, wrong: int) -> list[Figure]:
    """The figures with their bars."""
    crowd = f"2 x {options.crowd} slow strangers"
    return [
        Figure(f"of {options.pace:,.0f}/s, kept beside {crowd}", "x", told.kept, RATIO, floor=True),
        Figure("their p99 beside them", "ms", told.waits),
        Figure("share of a core that the server spends on them", "", told.shares, SHARE),
        Figure("resident memory of the server", "MiB", told.megabytes, MEGABYTES),
        Figure("answers with 5xx, and tracebacks", "", [float(wrong)], 0.0),
        Figure("rate of as many as it takes, beside them / without", "x", told.ratios),
        Figure(f"rate without strangers, {CLIENTS} connections", "/s", told.calm),
    ]


async def _load(place: Place, options: argparse.Namespace, pace: float, seen: Counter[str] | None) -> dict[str, float]:
    if seen is None:
        return await place.load(OURS, CLIENTS, options.seconds, pace)
    async with crowded(place.servers[OURS].role.address.rpartition(":")[2], options.crowd, seen):
        began = time.monotonic()
        told = await place.load(OURS, CLIENTS, options.seconds, pace)
        return {**told, "took": time.monotonic() - began}


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    figures = asyncio.run(measure(options))
    console = Console(width=None if sys.stdout.isatty() else 180)
    show(figures, console, "abuse")
    console.print(f"stored in {store(figures, options.results, 'abuse')}")
    return 0 if all(one.holds for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
