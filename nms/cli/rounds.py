"""`nms pipelines run`: begin rounds now, one pipeline after another, and wait until each has arrived."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer
from rich.console import Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nms.cli import output
from nms.cli.command import command
from nms.cli.output import Exit
from nms.cli.runs import describe
from nms.cli.standing import draw_problem, plural
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
) -> Exit:
    """Begin a round of pipelines that work in rounds (poll, compare, pull), one after another, and wait for it.

    When it returns, what the source had when the round began is at the target, but for what is held in quarantine.
    The first that fails ends it. Interrupted, it leaves the round under way: `nms runs` shows and cancels it.
    With --json each pipeline is one line.
    """
    repository = await SyncRepository.open()
    for name in names:
        await check_round(repository, name)
    if not wait:
        for name in names:
            asked = await ask_round(repository, name)
            output.say(f"{name}: a round is asked for; `nms runs watch {asked.id}` shows it.", run=describe(asked))
        return Exit.OK
    with _open_view(names) as view:
        return Exit.PROBLEM if await run_in_order(repository, names, view) else Exit.OK


async def run_in_order(repository: SyncRepository, names: Sequence[str], view: "View") -> Run | None:
    """Run a round of each pipeline and wait for it before the next; gives the run that did not succeed, if any."""
    for at, name in enumerate(names):
        ended = await _follow(repository, name, view)
        view.end(name, ended)
        if ended.state is not RunState.SUCCEEDED:
            view.fail(name, ended, names[at + 1 :])
            return ended
    return None


class View(Protocol):
    """Where it is told how far rounds are."""

    def show(self, name: str, run: Run, trouble: str | None) -> None:
        """How far a round is, and what keeps it."""
        ...

    def end(self, name: str, run: Run) -> None:
        """What became of a round."""
        ...

    def fail(self, name: str, run: Run, left: Sequence[str]) -> None:
        """Why a round failed, and what is not begun."""
        ...


class Lines:
    """A line for each pipeline when its round has ended: where the output is no terminal, or JSON."""

    def show(self, name: str, run: Run, trouble: str | None) -> None:
        """Take note of how far it is."""

    def end(self, name: str, run: Run) -> None:
        """Say what became of it."""
        if output.is_json():
            output.print_json({"pipeline": name, "run": describe(run)})
        elif run.state is RunState.SUCCEEDED:
            output.say(f"{name}: {plural(_count(run), 'record')} in {_seconds(run):.1f} s")

    def fail(self, name: str, run: Run, left: Sequence[str]) -> None:
        """Say why it failed, and what is not begun."""
        if output.is_json():
            return
        problem = run.problem or {"detail": f"its round was {run.state.value}", "code": f"run-{run.state.value}"}
        output.console(stderr=True).print(Group(*draw_problem(problem, name)))
        if left:
            output.tell(f"Not begun: {', '.join(left)}.")


class _Bars(Lines):
    """A bar for each pipeline, on a terminal."""

    def __init__(self, progress: Progress, names: Sequence[str]) -> None:
        self._progress = progress
        self._bars: dict[str, Any] = {
            name: progress.add_task(name, start=False, total=None, told="waits", name=name) for name in names
        }

    def show(self, name: str, run: Run, trouble: str | None) -> None:
        """Draw how far it is, and what keeps it."""
        self._progress.start_task(self._bars[name])
        told = trouble or f"{_count(run):,} records"
        total = (run.progress or {}).get("total")
        self._progress.update(self._bars[name], completed=_count(run), total=total, told=told)

    def end(self, name: str, run: Run) -> None:
        """Draw what became of it."""
        done = run.state is RunState.SUCCEEDED
        told = plural(_count(run), "record") if done else run.state.value
        count = max(1, _count(run))
        self._progress.update(self._bars[name], completed=count if done else 0, total=count, told=told)
        self._progress.stop_task(self._bars[name])


@contextmanager
def _open_view(names: Sequence[str]) -> Iterator[View]:
    console = output.console()
    if output.is_json() or not console.is_terminal:
        yield Lines()
        return
    columns = TextColumn("{task.fields[name]}", style="bold"), BarColumn(30), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.fields[told]}"), console=console) as progress:
        yield _Bars(progress, names)


async def _follow(repository: SyncRepository, name: str, view: View) -> Run:
    runs = await RunRepository.open()
    found = await ask_round(repository, name)
    while not found.state.ended:
        await asyncio.sleep(LOOK_SECONDS)
        found = await runs.get(found.id)
        pipeline = await get_pipeline(repository, name)
        view.show(name, found, pipeline.trouble(await repository.read_clock()))
    return found


def _count(run: Run) -> int:
    return int((run.progress or {}).get("current") or 0)


def _seconds(run: Run) -> float:
    return 0.0 if run.ended_at is None else (run.ended_at - run.created_at).total_seconds()
