"""`nms demo`: the main job on this machine, from nothing to a comparison of both sides; and mock data."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from nms.cli import output
from nms.cli.command import INTERRUPTED, command, command_with_own_databases
from nms.cli.demo.check import Check
from nms.cli.demo.node import allow_loopback, find_node, open_json_server
from nms.cli.demo.outcome import Outcome
from nms.cli.demo.posts import PostsDemo, Told, draw_sent
from nms.cli.demo.scenes import Demo, Size
from nms.cli.demo.screen import PlainScreen, QuietScreen, draw_outcome, open_screen
from nms.cli.demo.stage import DemoRunning, Stage, open_stage
from nms.cli.demo.subscriptions import create_table, fill
from nms.cli.demo.view import View
from nms.cli.output import Exit
from nms.common.db.dsn import DatabaseUnknown, check_dsn
from nms.common.db.embedded import Embedded
from nms.common.problem import Problem
from nms.common.settings import environment_value, get_settings
from nms.connectors.postgres.catalog import connect
from nms.connectors.postgres.libpq import Access

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

Seconds = Annotated[float, typer.Option(help="How long the company writes.", min=2, max=3600)]
Rows = Annotated[int, typer.Option(help="How many subscriptions there are to begin with.", min=100, max=10_000_000)]
Scale = Annotated[int, typer.Option(help="pgbench's scale: 100,000 accounts each.", min=1, max=100)]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the PostgreSQL running, and say how to look into it.")]


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    seconds: Seconds = 20.0,
    rows: Rows = 100_000,
    scale: Scale = 5,
    keep: Keep = False,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")] = False,
) -> None:
    """Run the main job on this machine and check that both sides are equal.

    Starts a PostgreSQL of its own in DATA_DIR/demo with two databases,
    billing and crm, and keeps five tables of one in sync with the other:
    subscriptions, and those of pgbench. While four clients of pgbench and
    two writers of subscriptions change billing, a worker is killed half
    way. At the end every row of both sides is compared. Takes about a
    minute; your own data are not touched, and everything it started is
    stopped at the end.

    The last line counts rows (at the source), changes (row changes that
    the source committed while the pipelines ran, by the writers' own
    count: four for each transaction of pgbench, and each insert, update
    and delete of a subscription), lost rows (missing at the target, or
    with other values there) and doubled rows (at the target, and at the
    source not or not as often).

    Exits 0 in sync, 3 out of sync, 1 when it could not come to its end.
    """
    if context.invoked_subcommand is None:
        _demo(size=Size(rows, scale, seconds), keep=keep, json_wanted=json_wanted)


@command_with_own_databases
async def _demo(size: Any, keep: Any) -> int:
    performing = asyncio.current_task()
    assert performing is not None
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, _interrupt, performing)
    try:
        return await _perform(size, keep=keep)
    except asyncio.CancelledError:
        output.tell("The demo was interrupted; everything it started is stopped.")
        return INTERRUPTED


async def _perform(size: Size, *, keep: bool) -> int:
    place = get_settings().data_dir / "demo"
    screen, view = open_screen(), View()
    with screen:
        screen.tell("Starting a PostgreSQL of its own for the demo ...")
        try:
            async with open_stage(place) as stage:
                outcome = await Demo(stage, size, screen, view).perform()
                stage.stays, stage.keeps_data = keep, not outcome.in_sync
                kept = _tell_how_to_look(stage) if keep else []
        except DemoRunning:
            raise
        except Problem:
            output.tell(f"What the demo left, with the workers' logs, is in {place}.")
            raise
    _tell_outcome(outcome, place, kept)
    return Exit.OK if outcome.in_sync else Exit.UNHEALTHY


def _interrupt(performing: "asyncio.Task[Any]") -> None:
    """End the demo once; a second Ctrl-C must not end its cleaning up."""
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    performing.cancel()


def _tell_how_to_look(stage: Stage) -> list[str]:
    return [
        f"PostgreSQL stays up on port {stage.server.port}. To look into it:",
        f"  . {stage.write_environment()}",
        '  psql "$BILLING_DSN"     the source; psql "$CRM_DSN" is the target',
        "  nms pipelines           where the pipelines stand",
        "  nms up                  works them on; Ctrl-C ends it, and this PostgreSQL",
        "The next `nms demo` clears it away.",
    ]


def _tell_outcome(outcome: Outcome, place: Path, kept: list[str]) -> None:
    if output.is_json():
        output.print_json({**outcome.to_dict(), "data": str(place) if kept or not outcome.in_sync else None})
        return
    output.console().print(draw_outcome(outcome))
    for line in kept:
        output.say(line)
    if not outcome.in_sync:
        output.say(f"Data and logs of this demo are in {place}.")
    output.say(outcome.sentence())


@app.command("subscriptions")
def subscriptions(
    rows: Annotated[int, typer.Option(help="How many subscriptions.", min=1, max=100_000_000)] = 100_000,
    source: Annotated[
        str | None, typer.Option(help="The DSN to fill. Default: BILLING_DSN, else `billing` of the embedded server.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fill two databases of the demo's own and run the periodic check on them.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="With --check: how long both are edited.", min=1, max=3600)] = 5.0,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")] = False,
) -> None:
    """Fill a table `public.subscription` with mock data; makes the table unless it is there.

    Always the same rows for the same number; rows that are there already
    stay as they are.

    With `--check` a PostgreSQL of its own is started as `nms demo` does,
    two databases get the rows, other ones of them inactive on each side,
    and examples/subscriptions-poll.yaml runs (a round each second) while
    both are edited. Exits 0 when at the end no subscription is inactive
    on one side only, 3 when one is, 1 when it could not come to its end.
    """
    if check and source:
        raise typer.BadParameter("it fills databases of its own; leave --source out", param_hint="--check")
    if check:
        _check(rows=rows, seconds=seconds, json_wanted=json_wanted)
    else:
        _fill(rows=rows, source=source, json_wanted=json_wanted)


@app.command("rest")
def rest(
    json_wanted: Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")] = False,
) -> None:
    """Keep two tables and a REST API alike, in both directions, on this machine.

    Starts a PostgreSQL of its own as `nms demo` does, and json-server with
    the posts and comments of JSONPlaceholder; needs Node.js and what
    `make services` installs. Applies examples/jsonplaceholder-tables.yaml, loads
    100 posts and 500 comments, changes some of them in the tables, waits
    until the API has followed, compares every record, and shows what was
    sent. Everything it started is stopped at the end.

    Exits 0 in sync, 3 out of sync, 1 when it could not come to its end.
    """
    _rest(json_wanted=json_wanted)


@command_with_own_databases
async def _rest() -> int:
    performing = asyncio.current_task()
    assert performing is not None
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, _interrupt, performing)
    find_node()
    allow_loopback()
    screen = PlainScreen() if not output.is_json() else QuietScreen()
    try:
        with screen:
            async with open_stage(get_settings().data_dir / "demo") as stage, open_json_server(stage.place) as server:
                found = await PostsDemo(stage, server, screen, Told(screen)).perform()
    except asyncio.CancelledError:
        output.tell("The demo was interrupted; everything it started is stopped.")
        return INTERRUPTED
    if output.is_json():
        output.print_json(found.to_dict())
    else:
        output.console().print(draw_sent(found))
        output.say(found.sentence())
    return Exit.OK if found.in_sync else Exit.UNHEALTHY


@command
async def _fill(rows: Any, source: Any) -> None:
    connection = await connect(Access("the source", await _find_source(source)), name="nms-demo")
    try:
        await create_table(connection)
        new = await fill(connection, rows)
    finally:
        await connection.close()
    output.say(f"{new:,} new subscriptions stand in public.subscription.", rows=rows, new=new)


@command_with_own_databases
async def _check(rows: Any, seconds: Any) -> int:
    performing = asyncio.current_task()
    assert performing is not None
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, _interrupt, performing)
    screen = PlainScreen() if not output.is_json() else QuietScreen()
    try:
        with screen:
            async with open_stage(get_settings().data_dir / "demo") as stage:
                verdict = await Check(stage, rows, seconds, screen).perform()
    except asyncio.CancelledError:
        output.tell("The demo was interrupted; everything it started is stopped.")
        return INTERRUPTED
    if output.is_json():
        output.print_json(verdict.to_dict())
    else:
        output.say(verdict.sentence())
    return Exit.OK if verdict.in_sync else Exit.UNHEALTHY


async def _find_source(given: str | None) -> str:
    named = given or environment_value("BILLING_DSN")
    if named:
        return check_dsn(named, name="--source" if given else "BILLING_DSN")
    server = Embedded(get_settings().data_dir).find()
    if server is None:
        raise DatabaseUnknown(
            "There is no source to fill.", remedy="Name one with `--source`, set BILLING_DSN, or start `nms up`."
        )
    return server.dsn("billing")
