"""`nms pipelines`, its `run`, `pause`, `resume`, `resync`: see where pipelines stand, and decide what they do."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.live import Live

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import GroupWithDefault, new_app
from nms.cli.output import Exit
from nms.cli.rounds import run
from nms.cli.standing import describe, draw_pipeline, draw_pipelines, plural, size
from nms.common.problem import Problem
from nms.common.settings import get_settings
from nms.sync.models import Pipeline
from nms.sync.pipeline import get_pipeline
from nms.sync.pipeline import pause as pause_pipeline
from nms.sync.pipeline import resume as resume_pipeline
from nms.sync.pipeline import resync as resync_pipeline
from nms.sync.preflight import estimate
from nms.sync.repository import SyncRepository

LOOK_SECONDS = 0.5
PAGE = 1000

app = new_app(
    cls=GroupWithDefault,
    help="List the pipelines with phase, lag, rate, position and problem (`show`, which need not be written), or begin "
    "rounds of them.",
)
app.command("run")(run)

Name = Annotated[str, typer.Argument(help="The name of a pipeline.")]


class NotConfirmed(Problem):
    """A command that costs something was not confirmed."""

    status, code, title = 409, "not-confirmed", "It was not confirmed"
    remedy = "Answer `y`, or give --yes where nobody can answer."


@app.command("show")
@command
async def pipelines(
    name: Annotated[str | None, typer.Argument(help="Only this pipeline, with the progress of each dataset.")] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until interrupted.")] = False,
) -> Exit:
    """List the pipelines with phase, lag, rate, position and problem; exits 3 when one is not well.

    With --watch and --json each change of standing is one line.
    """
    repository = await SyncRepository.open()
    found, now = await _look(repository, name)
    if watch:
        await _watch(repository, name)
    elif output.is_json():
        rows = [describe(one, now) for one in found]
        output.print_json(rows if name is None else rows[0])
    elif not found:
        output.say("There is no pipeline; `nms apply -f FILE` adds one.")
    else:
        output.console().print(draw_pipelines(found, now) if name is None else draw_pipeline(found[0], now))
    return Exit.UNHEALTHY if any(one.trouble(now) for one in found) else Exit.OK


@command
async def pause(name: Name) -> None:
    """Hold a pipeline where it stands; the source keeps its log for it until it goes on."""
    paused = await pause_pipeline(await SyncRepository.open(), name)
    _tell(paused, f"{name} is paused; `nms resume {name}` lets it go on from where it stands.")


@command
async def resume(name: Name) -> None:
    """Let a paused or halted pipeline go on from where it stands."""
    started = await resume_pipeline(await SyncRepository.open(), name)
    _tell(started.pipeline, f"{name} goes on; `nms pipelines {name} --watch` shows how.", run=started.run.id)


@command
async def resync(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; where nobody can answer it is needed.")] = False,
) -> None:
    """Copy a pipeline's data anew and go on from there: what heals a lost slot or a restored source.

    Says what it costs and asks. The target keeps its rows meanwhile: rows that are equal are written again, rows
    that the source no longer has go, chunk by chunk.
    """
    repository = await SyncRepository.open()
    pipeline = await get_pipeline(repository, name)
    cost = await _tell_cost(repository, pipeline)
    if not yes and not _confirm():
        raise NotConfirmed(f"{name} stays as it is.", pipeline=name)
    started = await resync_pipeline(repository, name, pipeline.generation)
    generation = started.pipeline.generation
    told = f"{name} is copied anew in generation {generation}; `nms pipelines {name} --watch` shows how far it is."
    _tell(started.pipeline, told, run=started.run.id, cost=cost)


async def _look(repository: SyncRepository, name: str | None) -> tuple[list[Pipeline], datetime]:
    now = await repository.read_clock()
    if name is not None:
        return [await get_pipeline(repository, name)], now
    found: list[Pipeline] = []
    while True:
        page = await repository.list_pipelines(found[-1].name if found else "", PAGE)
        found += page
        if len(page) < PAGE:
            return found, now


async def _watch(repository: SyncRepository, name: str | None) -> None:
    if output.is_json():
        await _watch_lines(repository, name)
        return
    with Live(console=output.console(), refresh_per_second=4, transient=False) as live:
        while True:
            found, now = await _look(repository, name)
            live.update(draw_pipelines(found, now) if name is None else draw_pipeline(found[0], now))
            await asyncio.sleep(LOOK_SECONDS)


async def _watch_lines(repository: SyncRepository, name: str | None) -> None:
    told: dict[str, Any] = {}
    while True:
        found, now = await _look(repository, name)
        for one in _news(found, told):
            output.print_json(describe(one, now))
        await asyncio.sleep(LOOK_SECONDS)


def _news(found: Sequence[Pipeline], told: dict[str, Any]) -> list[Pipeline]:
    fresh = [one for one in found if told.get(one.name) != one.updated_at]
    told.update({one.name: one.updated_at for one in fresh})
    return fresh


async def _tell_cost(repository: SyncRepository, pipeline: Pipeline) -> list[dict[str, Any]]:
    try:
        tables = await estimate(repository, pipeline.name, get_settings())
    except Problem as problem:
        output.tell(f"What it costs is not known: {problem.detail}")
        return []
    rows, total = sum(one.rows for one in tables), sum(one.bytes for one in tables)
    held = f"; what is held in quarantine ({plural(pipeline.held, 'change')}) is dropped" if pipeline.held else ""
    output.tell(
        f"About {plural(rows, 'row')} ({size(total)} with indexes at the source) of"
        f" {plural(len(tables), 'table')} will be copied{held}."
    )
    return [{"dataset": one.dataset, "rows": one.rows, "bytes": one.bytes} for one in tables]


def _confirm() -> bool:
    if not sys.stdin.isatty() or output.is_json():
        return False
    return typer.confirm("Go on?", err=True)


def _tell(pipeline: Pipeline, sentence: str, **facts: Any) -> None:
    output.say(sentence, pipeline=pipeline.model_dump(mode="json"), **facts)
