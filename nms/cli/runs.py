"""`nms runs`: list, show, watch, cancel and retry runs."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.cli.output import Exit
from nms.cli.standing import COLOURS, draw_problem
from nms.common.run import DwhRunRepository, Run, RunRepository, RunState, request_cancel
from nms.common.run import retry as retry_run

app = new_app(help="List, watch, cancel and retry runs.")
LOOK_SECONDS = 0.3
COLUMNS = ("id", "kind", "subject", "state", "attempts", "worker", "progress", "problem", "created_at", "ended_at")

Runs = RunRepository | DwhRunRepository
OfWarehouse = Annotated[
    bool, typer.Option("--warehouse", help="Runs of the warehouse: pulls, exports, changes of tables.")
]
Number = Annotated[int, typer.Argument(metavar="RUN", help="The number of a run.", min=1)]


@app.command("list")
@command
async def list_(
    *,
    kind: Annotated[str | None, typer.Option(help="Only runs of this kind, such as pipeline.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only runs of this subject, such as a pipeline's name.")] = None,
    state: Annotated[RunState | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=10_000)] = 50,
    before: Annotated[int | None, typer.Option(help="Only runs older than the one of this number.", min=1)] = None,
    warehouse: OfWarehouse = False,
) -> None:
    """List runs, the newest first."""
    repository = await _open(warehouse)
    found = await repository.list(kind=kind, subject=subject, state=state, before=before, size=limit + 1)
    shown = found[:limit]
    if output.is_json():
        output.print_json([describe(run) for run in shown])
        return
    output.show_rows([_row(run) for run in shown], COLUMNS, empty="There is no such run.")
    if len(found) > limit:
        output.tell(f"There are more; `--before {shown[-1].id}` shows the next ones.")


@app.command("show")
@command
async def show(run: Number, *, warehouse: OfWarehouse = False) -> None:
    """Show one run with progress, checkpoint and problem."""
    found = await (await _open(warehouse)).get(run)
    if output.is_json():
        output.print_json(describe(found))
    else:
        output.show_record({name: value for name, value in describe(found).items() if name != "problem"})
        if found.problem is not None:
            output.console().print(Group(*draw_problem(found.problem, found.subject)))


@app.command("watch")
@command
async def watch(run: Number, *, warehouse: OfWarehouse = False) -> Exit:
    """Show a run live until it is over; exits 1 when it failed or was cancelled."""
    repository = await _open(warehouse)
    found = await repository.get(run)
    if output.is_json():
        found = await _watch_lines(repository, found)
    else:
        with Live(_draw(found), console=output.console(), refresh_per_second=4) as live:
            while not found.state.ended:
                await asyncio.sleep(LOOK_SECONDS)
                found = await repository.get(run)
                live.update(_draw(found))
    return Exit.OK if found.state is RunState.SUCCEEDED else Exit.PROBLEM


@app.command("cancel")
@command
async def cancel(run: Number, *, warehouse: OfWarehouse = False) -> None:
    """Cancel a run that waits, or ask the one at work to stop; it does so within a second."""
    asked = await request_cancel(await _open(warehouse), run)
    words = "is cancelled" if asked.state is RunState.CANCELLED else "is asked to stop"
    output.say(f"Run {run} {words}.", run=describe(asked))


@app.command("retry")
@command
async def retry(run: Number, *, warehouse: OfWarehouse = False) -> None:
    """Queue a failed, cancelled or waiting run for now, with its checkpoint."""
    queued = await retry_run(await _open(warehouse), run)
    output.say(f"Run {run} is queued.", run=describe(queued))


async def _open(warehouse: bool) -> Runs:
    return await DwhRunRepository.open() if warehouse else await RunRepository.open()


def describe(run: Run) -> dict[str, Any]:
    """A run as `--json` shows it."""
    return {**asdict(run), "state": run.state.value}


async def _watch_lines(repository: Runs, run: Run) -> Run:
    told: Run | None = None
    while True:
        if run != told:
            output.print_json(describe(run))
            told = run
        if run.state.ended:
            return run
        await asyncio.sleep(LOOK_SECONDS)
        run = await repository.get(run.id)


def _row(run: Run) -> dict[str, Any]:
    problem = None if run.problem is None else run.problem.get("code")
    return {**describe(run), "progress": _progress(run), "problem": problem}


def _progress(run: Run) -> str:
    progress = run.progress or {}
    if "current" not in progress:
        return "-"
    total = progress.get("total")
    of = f" of {total:,.0f}" if total else ""
    rate = f", {progress['rate']:,.0f}/s" if progress.get("rate") else ""
    eta = f", {progress['eta']:.0f} s left" if progress.get("eta") else ""
    return f"{progress.get('phase') or ''} {progress['current']:,.0f}{of} {progress.get('unit', '')}{rate}{eta}".strip()


def _draw(run: Run) -> RenderableType:
    state = Text.assemble(f"run {run.id}  {run.kind} {run.subject}  ", (run.state.value, COLOURS[run.state.value]))
    parts: list[RenderableType] = [state, Text(_progress(run))]
    progress = run.progress or {}
    if progress.get("total"):
        parts.append(ProgressBar(total=progress["total"], completed=progress["current"], width=50))
    if run.problem is not None and run.state is not RunState.SUCCEEDED:
        parts += draw_problem(run.problem, run.subject)
    return Group(*parts)
