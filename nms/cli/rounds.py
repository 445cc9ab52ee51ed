"""`nms pipelines run`: begin rounds now, one pipeline after another, and wait until each has arrived."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.output import Exit
from nms.cli.round_view import View, hindrance, open_view
from nms.cli.runs import describe
from nms.common.run import Run, RunRepository, RunState
from nms.sync.pipeline import get_pipeline
from nms.sync.repository import SyncRepository
from nms.sync.round import ask_round, check_round

LOOK_SECONDS = 0.2


@command
async def run(
    names: Annotated[list[str], typer.Argument(metavar="PIPELINE", help="Pipelines, in the order they run in.")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for each before the next; else all begin at once.")
    ] = True,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait no longer for all of them; then exit with 4.", min=0)
    ] = None,
) -> Exit:
    """Begin a round of pipelines that work in rounds (poll, compare, pull), one after another, and wait for it.

    When it returns, what the source had when the round began is at the target, but for what is held in quarantine.
    The first that fails ends it. While a round waits (the source is away, refuses, or no worker runs), a line says so,
    since when and why. Interrupted (exit code 130) or out of time (4), it leaves the round under way and begins no
    other: `nms runs` shows and cancels it. With --json each pipeline is one line; what it waits for goes to standard
    error, an object a line.
    """
    repository = await SyncRepository.open()
    for name in names:
        await check_round(repository, name)
    if not wait:
        for name in names:
            asked = await ask_round(repository, name)
            output.say(f"{name}: a round is asked for; `nms runs watch {asked.id}` shows it.", run=describe(asked))
        return Exit.OK
    limit = asyncio.timeout(timeout)
    with open_view(names) as view:
        try:
            async with limit:
                return Exit.PROBLEM if await run_in_order(repository, names, view) else Exit.OK
        except TimeoutError:
            if not limit.expired():
                raise
            view.late()
            return Exit.LATE


async def run_in_order(repository: SyncRepository, names: Sequence[str], view: View) -> Run | None:
    """Run a round of each pipeline and wait for it before the next; gives the run that did not succeed, if any."""
    for at, name in enumerate(names):
        ended = await _follow(repository, name, view)
        view.end(name, ended)
        if ended.state is not RunState.SUCCEEDED:
            view.fail(name, ended, names[at + 1 :])
            return ended
    return None


async def _follow(repository: SyncRepository, name: str, view: View) -> Run:
    runs = await RunRepository.open()
    found = await ask_round(repository, name)
    while not found.state.ended:
        await asyncio.sleep(LOOK_SECONDS)
        found = await runs.get(found.id)
        pipeline = await get_pipeline(repository, name)
        view.show(name, found, hindrance(pipeline, await repository.read_clock()))
    return found
