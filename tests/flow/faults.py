"""`python -m tests.flow.faults`: kill workers and servers under eight writers, then prove that nothing is wrong.

The servers run with fsync on unless `--no-fsync` is given. An immediate stop is a crash of the server's processes, not
of the machine: what was written is in the kernel's cache either way, so the short form in `make test` may do without.
"""

import argparse
import asyncio
import json
import sys
import uuid
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.flow.campaign import Blow, Orders, Report, Round, plan_blows
from tests.flow.drivers import Driver, Sides, SubscriptionDriver
from tests.flow.nms_driver import NmsDriver
from tests.flow.proof.checker import Stalled
from tests.flow.proof.records import Fault
from tests.services.postgres import PostgresServer

SETTINGS = {"deadlock_timeout": "100ms", "wal_retrieve_retry_interval": "200ms", "max_wal_size": "4GB"}


async def strike(orders: Orders, driver: Driver, console: Console, *, fsync: bool = True) -> Report:
    """Run a whole campaign on private servers; raises Stalled when a pipeline does not go on."""
    settings = SETTINGS if fsync else {**SETTINGS, "fsync": "off"}
    servers = [PostgresServer("18", settings=settings) for _ in range(3)]
    report = Report()
    try:
        await asyncio.gather(*(server.start() for server in servers))
        may_freeze = not isinstance(driver, SubscriptionDriver)
        for blows in plan_blows(orders, driver.points, may_freeze=may_freeze):
            sides = Sides(servers[0], servers[1], servers[2], f"proof_{uuid.uuid4().hex[:8]}")
            console.print(f"round {report.rounds + 1} of {orders.rounds}: {len(blows)} blows")
            try:
                await Round(sides, driver, orders, report, console.print).run(blows)
            finally:
                await driver.end()
                await sides.source.drop_database(sides.database)
                await sides.target.drop_database(sides.database)
    finally:
        await asyncio.gather(*(server.close() for server in servers))
    return report


def tabulate(report: Report) -> Table:
    """The verdict, and what it stands on."""
    table = Table("what", "all", "during backfill", "streaming", title="Faults")
    for title, blows in (
        ("worker kills", (Blow.KILL, Blow.KILL_AT)),
        *((str(blow), (blow,)) for blow in (Blow.KILL_AT, Blow.FREEZE, Blow.SOURCE, Blow.TARGET, Blow.OWN)),
    ):
        counts = [report.count(*blows, backfill=phase) for phase in (None, True, False)]
        table.add_row(title, *map(str, counts))
    for fact in ("committed", "unknown_resolved", "written", "effects", "snapshots", "rows"):
        table.add_row(fact.replace("_", " "), f"{report.verdict.facts.get(fact, 0):,}")
    if report.recoveries:
        slowest, blow = max(report.recoveries)
        table.add_row("slowest recovery", f"{slowest:.1f} s", str(blow))
    table.add_section()
    for fault in Fault:
        table.add_row(str(fault), str(report.verdict.counts[fault]))
    return table


def to_dict(report: Report) -> dict[str, object]:
    """The report as plain values."""
    return {
        "rounds": report.rounds,
        "blows": {
            str(blow): {
                phase: report.count(blow, backfill=early) for phase, early in (("backfill", True), ("streaming", False))
            }
            for blow in Blow
        },
        "slowest_recovery_seconds": round(max((taken for taken, _ in report.recoveries), default=0.0), 1),
        "facts": report.verdict.facts,
        "verdict": {str(fault): count for fault, count in report.verdict.counts.items()},
        "examples": {str(fault): found for fault, found in report.verdict.examples.items() if found},
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("faults", description=__doc__.partition("\n")[0])
    standard = Orders()
    for name in ("worker-kills", "source-stops", "target-stops", "own-stops", "freezes", "seed", "rounds", "accounts"):
        parser.add_argument(f"--{name}", type=int, default=getattr(standard, name.replace("-", "_")))
    for name in ("rate", "calm"):
        parser.add_argument(f"--{name}", type=float, default=getattr(standard, name))
    parser.add_argument("--lease", type=float, default=5.0, help="seconds until a dead worker's pipeline is taken")
    parser.add_argument("--slow", type=float, default=0.7, help="seconds that a worker rests at each chunk")
    parser.add_argument("--pipeline", choices=["nms", "subscription"], default="nms")
    parser.add_argument("--no-fsync", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, progress on stderr")
    parser.add_argument("--report", type=Path, help="write the report as JSON to a file")
    return parser.parse_args(arguments)


def choose_driver(options: argparse.Namespace) -> Driver:
    if options.pipeline == "subscription":
        return SubscriptionDriver()
    return NmsDriver(options.seed, lease=options.lease, slow=options.slow)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    console = Console(stderr=options.json, markup=False, soft_wrap=True)
    orders = Orders(**{name: value for name, value in vars(options).items() if name in Orders.__dataclass_fields__})
    try:
        report = asyncio.run(strike(orders, choose_driver(options), console, fsync=not options.no_fsync))
    except ExceptionGroup as failed:
        if failed.subgroup(Stalled) is None:
            raise
        console.print(f"stalled: {failed.exceptions[0]}")
        return 1
    if options.report:
        options.report.write_text(json.dumps(to_dict(report), indent=1) + "\n")
    if options.json:
        print(json.dumps(to_dict(report)))  # noqa: T201
    else:
        console.print(tabulate(report))
    return 0 if report.verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
