"""`python -m bench.inbox.abuse`: what a crowd of strangers takes of the rate of good requests.

The crowd runs on the same machine, so the ratio of rates charges its own work to the server, and that of neighbours;
the share of a core that the server itself spends on strangers does not. Non-zero on a missed bar.
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
RATIO, SHARE, MEGABYTES, CROWD = 0.9, 0.1, 256.0, 1000


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.inbox.abuse", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="how often it is measured without and with the crowd")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument(
        "--crowd", type=int, default=CROWD, help="connections that are slow in the head, and in the body"
    )
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


async def measure(options: argparse.Namespace) -> list[Figure]:
    """Pairs, the calm first in every other one."""
    ratios, shares, calm, megabytes = list[float](), list[float](), list[float](), list[float]()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="nms-bench-") as folder:
        async with open_place(Path(folder), [OURS]) as place:
            role = place.servers[OURS].role
            await place.load(OURS, CLIENTS, 1.0)
            for pair in range(options.pairs):
                told = {}
                for attacked in (False, True) if pair % 2 else (True, False):
                    told[attacked] = await _load(place, options, seen, attacked=attacked)
                    megabytes.append(max(resident_mb(pid) for pid in role.family()))
                ratios.append(told[True]["rate"] / told[False]["rate"])
                more = told[True][CPU] - told[False][CPU]
                shares.append(more * told[True]["count"] / 1e6 / told[True]["took"])
                calm.append(told[False]["rate"])
                print(f"calm {calm[-1]:8,.0f}/s   ratio {ratios[-1]:.2f}   share {shares[-1]:.3f}", file=sys.stderr)
            wrong = role.log.count("Traceback") + sum(count for told, count in seen.items() if " 5" in f" {told}")
    print(f"what the crowd saw: {dict(sorted(seen.items()))}", file=sys.stderr)
    return [
        Figure(f"rate beside 2 x {options.crowd} slow strangers / rate without", "x", ratios, RATIO, floor=True),
        Figure("share of a core that the server spends on them", "", shares, SHARE),
        Figure("resident memory of the server", "MiB", megabytes, MEGABYTES),
        Figure("answers with 5xx, and tracebacks", "", [float(wrong)], 0.0),
        Figure(f"rate without strangers, {CLIENTS} connections", "/s", calm),
    ]


async def _load(place: Place, options: argparse.Namespace, seen: Counter[str], *, attacked: bool) -> dict[str, float]:
    if not attacked:
        return await place.load(OURS, CLIENTS, options.seconds)
    async with crowded(place.servers[OURS].role.address.rpartition(":")[2], options.crowd, seen):
        began = time.monotonic()
        told = await place.load(OURS, CLIENTS, options.seconds)
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
