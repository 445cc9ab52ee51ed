"""How rounds that are waited for are shown: lines or bars, how far they are, and what they wait for."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from rich.console import Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nms.cli import output
from nms.cli.runs import describe
from nms.cli.standing import draw_problem, plural
from nms.common.run import Run, RunState
from nms.sync.models import Pipeline

TELL_SECONDS = 10.0
"""Where there are lines instead of bars, one as often says how far a round is."""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What keeps a round: a stable code, a sentence, and since when."""

    code: str
    detail: str
    since: str | None

    def __str__(self) -> str:
        since = "" if self.since is None else f" since {self.since.replace('T', ' ')}"
        return f"waits{since}: {self.detail} ({self.code})"


def hindrance(pipeline: Pipeline, now: datetime) -> Hindrance | None:
    """What keeps the rounds of a pipeline: a problem after which it is tried again, or that nobody works it."""
    if pipeline.problem is not None:
        problem = pipeline.problem
        return Hindrance(
            str(problem.get("code")), str(pipeline.trouble(now) or problem.get("title")), problem.get("since")
        )
    if pipeline.is_silent(now):
        since = pipeline.updated_at.isoformat(timespec="seconds")
        return Hindrance("no-worker", str(pipeline.trouble(now)), since)
    return None


class View(Protocol):
    """Where it is told how far rounds are."""

    def show(self, name: str, run: Run, kept_by: Hindrance | None) -> None:
        """How far a round is, and what keeps it."""
        ...

    def end(self, name: str, run: Run) -> None:
        """What became of a round."""
        ...

    def fail(self, name: str, run: Run, left: Sequence[str]) -> None:
        """Why a round failed, and what is not begun."""
        ...

    def late(self) -> None:
        """That nobody waits any longer."""
        ...


class Lines:
    """A line for each pipeline when its round has ended, beside it what it waits for: where there is no terminal."""

    def __init__(self) -> None:
        self._shown: tuple[str, Run] | None = None
        self._kept_by: Hindrance | None = None
        self._told_at = time.monotonic()

    def show(self, name: str, run: Run, kept_by: Hindrance | None) -> None:
        """Say at once what a round waits for, and every so often how far it is."""
        self._shown = name, run
        now = time.monotonic()
        new = kept_by is not None and kept_by != self._kept_by
        if new or now - self._told_at > TELL_SECONDS:
            self._told_at, self._kept_by = now, kept_by or self._kept_by
            self._tell(name, run, kept_by)

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

    def late(self) -> None:
        """Say which round goes on."""
        if self._shown is None:
            return
        name, run = self._shown
        if output.is_json():
            output.print_json({"pipeline": name, "run": describe(run)})
        output.tell(
            f"{name}: the time is over, and its round goes on; `nms runs watch {run.id}` shows it, "
            f"`nms runs cancel {run.id}` ends it.",
            pipeline=name,
        )

    def _tell(self, name: str, run: Run, kept_by: Hindrance | None) -> None:
        facts = {} if kept_by is None else {"code": kept_by.code, "since": kept_by.since}
        told = far(run) if kept_by is None else f"{kept_by}; {far(run)} so far"
        output.tell(f"{name}: {told}", pipeline=name, progress=run.progress, **facts)


class _Bars(Lines):
    """A bar for each pipeline, on a terminal."""

    def __init__(self, progress: Progress, names: Sequence[str]) -> None:
        super().__init__()
        self._progress = progress
        self._bars: dict[str, Any] = {
            name: progress.add_task(name, start=False, total=None, told="waits", name=name) for name in names
        }

    def show(self, name: str, run: Run, kept_by: Hindrance | None) -> None:
        """Draw how far it is, and what keeps it."""
        self._shown = name, run
        self._progress.start_task(self._bars[name])
        total = (run.progress or {}).get("total")
        told = far(run) if kept_by is None else str(kept_by)
        self._progress.update(self._bars[name], completed=_count(run), total=total, told=told)

    def end(self, name: str, run: Run) -> None:
        """Draw what became of it."""
        done = run.state is RunState.SUCCEEDED
        told = plural(_count(run), "record") if done else run.state.value
        count = max(1, _count(run))
        self._progress.update(self._bars[name], completed=count if done else 0, total=count, told=told)
        self._progress.stop_task(self._bars[name])


@contextmanager
def open_view(names: Sequence[str]) -> Iterator[View]:
    """Bars on a terminal, else lines; with --json objects."""
    console = output.console()
    if output.is_json() or not console.is_terminal:
        yield Lines()
        return
    columns = TextColumn("{task.fields[name]}", style="bold"), BarColumn(30), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.fields[told]}"), console=console) as progress:
        yield _Bars(progress, names)


def far(run: Run) -> str:
    """How far a round is: `1,200 of about 5,000 records, 12 s left`; what the source does not tell is left out."""
    progress = run.progress or {}
    if not progress.get("total"):
        return plural(_count(run), "record")
    left = f", {progress['eta']:,.0f} s left" if progress.get("eta") else ""
    return f"{_count(run):,} of about {progress['total']:,.0f} records{left}"


def _count(run: Run) -> int:
    return int((run.progress or {}).get("current") or 0)


def _seconds(run: Run) -> float:
    return 0.0 if run.ended_at is None else (run.ended_at - run.created_at).total_seconds()
