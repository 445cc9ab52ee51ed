"""`python -m tests.flow.inbox`: webhooks at a rate while role processes are killed and servers stop, then the proof.

PostgreSQL runs with fsync on unless `--no-fsync` is given. Two inbox processes (uvicorn, gunicorn) and a sync worker
are killed as a die falls, PostgreSQL and RabbitMQ are stopped or crashed in turn.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.flow.proof.checker import Stalled
from tests.flow.proof.records import Fault
from tests.flow.webhooks.brokers import OwnBroker
from tests.flow.webhooks.campaign import Campaign, Orders, Report, Say
from tests.flow.webhooks.stage import Stage
from tests.services.postgres import PostgresServer


async def strike(stage: Stage, orders: Orders, say: Say) -> Report:
    """Set an installation up, run the campaign over it, and leave nothing of it."""
    try:
        await stage.set_up()
        return await Campaign(stage, orders, say).run()
    finally:
        await stage.tear_down()


def to_dict(report: Report) -> dict[str, object]:
    """The report as plain values."""
    return {
        "blows": dict(report.blows),
        "retries": report.tally["retries"],
        "doubles": report.tally["doubles"],
        "seconds": report.tally["seconds"],
        "drained_seconds": report.drained,
        "facts": report.verdict.facts,
        "verdict": {str(fault): count for fault, count in report.verdict.counts.items()},
        "examples": {str(fault): found for fault, found in report.verdict.examples.items() if found},
    }


def tabulate(report: Report) -> Table:
    """The verdict, and what it stands on."""
    table = Table("what", "count", title="Webhooks")
    for name, count in sorted(report.blows.items()):
        table.add_row(name, str(count))
    table.add_row("sent twice at once", f"{report.tally['doubles']:,}")
    table.add_row("sent again", f"{sum(report.tally['retries'].values()):,}")
    for fact, count in report.verdict.facts.items():
        table.add_row(fact, f"{count:,}")
    table.add_section()
    for fault in (Fault.LOST, Fault.DOUBLED, Fault.REORDERED, Fault.INVENTED):
        table.add_row(str(fault), str(report.verdict.counts[fault]))
    return table


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("faults-inbox", description=__doc__.partition("\n")[0])
    standard = Orders()
    parser.add_argument("--seed", type=int, default=standard.seed)
    for name in ("seconds", "rate", "doubles", "kill-every", "stop-every", "down"):
        parser.add_argument(f"--{name}", type=float, default=getattr(standard, name.replace("-", "_")))
    parser.add_argument("--no-fsync", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, progress on stderr")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    console = Console(stderr=options.json, markup=False, soft_wrap=True)
    orders = Orders(**{name: value for name, value in vars(options).items() if name in Orders.__dataclass_fields__})
    folder = Path(tempfile.mkdtemp(prefix="nms-inbox-"))
    own = PostgresServer("18", settings={"fsync": "off"} if options.no_fsync else None)
    try:
        report = asyncio.run(strike(Stage(own, OwnBroker(folder / "broker"), folder), orders, console.print))
    except Stalled as stalled:
        console.print(f"stalled: {stalled}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(to_dict(report)))  # noqa: T201
    else:
        console.print(tabulate(report))
    if not report.clean:
        console.print(str(report.verdict))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
