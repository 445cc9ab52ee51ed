"""What the demo shows while it runs: a live screen in a terminal, plain lines elsewhere."""

import time
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nms.cli import output
from nms.cli.demo.outcome import Outcome
from nms.cli.demo.view import View
from nms.cli.standing import COLOURS, new_table, size
from nms.sync.models import Pipeline

LINE_SECONDS = 2.0
BAR_WIDTH = 32


class Screen(Protocol):
    """Where the demo tells what happens."""

    def __enter__(self) -> "Screen": ...
    def __exit__(self, *_: object) -> None: ...

    def tell(self, sentence: str) -> None:
        """Say what has just happened."""

    def show(self, view: View) -> None:
        """Show where everything stands."""


def open_screen() -> Screen:
    """The screen that fits: live in a terminal, lines in a pipe, sentences on standard error with `--json`."""
    if output.is_json():
        return QuietScreen()
    return LiveScreen() if output.console().is_terminal else PlainScreen()


class QuietScreen:
    """Only what happens, on standard error."""

    def __enter__(self) -> "QuietScreen":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to leave."""

    def tell(self, sentence: str) -> None:
        """Say what has just happened."""
        output.tell(sentence)

    def show(self, view: View) -> None:
        """Nothing: the document at the end has it all."""


class PlainScreen(QuietScreen):
    """Lines without a terminal's means: what happens, and every two seconds where everything stands."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown_at = 0.0

    def tell(self, sentence: str) -> None:
        """Say what has just happened, and when."""
        output.say(f"{time.monotonic() - self._began:5.1f} s  {sentence}")

    def show(self, view: View) -> None:
        """One line, not too often."""
        if time.monotonic() - self._shown_at >= LINE_SECONDS and view.pipelines:
            self._shown_at = time.monotonic()
            output.say(f"{view.elapsed:5.1f} s  {describe(view)}")


class LiveScreen:
    """A region that is drawn anew, and above it what has happened."""

    def __init__(self) -> None:
        self._console = output.console()
        self._began = time.monotonic()
        self._view = View()
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._draw)

    def __enter__(self) -> "LiveScreen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tell(self, sentence: str) -> None:
        """Say what has just happened, and when."""
        when = Text(f"{time.monotonic() - self._began:5.1f} s  ", style="dim")
        self._console.print(Text.assemble(when, sentence))

    def show(self, view: View) -> None:
        """Draw this from now on."""
        self._view = view

    def _draw(self) -> RenderableType:
        return draw(self._view)


def describe(view: View) -> str:
    """Where everything stands, in one line."""
    parts = []
    copied = view.copied
    if any(not one.done for one in copied):
        parts.append(f"copied {sum(one.rows for one in copied):,} of {sum(one.of for one in copied):,} rows")
    parts.append(f"{view.written.changes:,} changes written")
    parts += [f"{one.name} {one.phase}{_behind(one)}" for one in view.pipelines]
    if view.to_go is not None:
        parts.append(f"{size(view.to_go)} of log to go")
    return "; ".join(parts)


def draw(view: View) -> RenderableType:
    """Where everything stands, as a terminal shows it."""
    head = Text.assemble((f"{view.elapsed:5.1f} s  ", "dim"), (view.title, "bold"))
    if view.left:
        head.append(f", {view.left:.0f} s to go", style="dim")
    if view.to_go is not None:
        head.append(f", {size(view.to_go)} of log to go", style="dim")
    if not view.pipelines:
        return Group(Text(), head)
    return Group(Text(), head, Text(), _draw_datasets(view), Text(), _draw_pipelines(view), Text(), _draw_writing(view))


def _draw_datasets(view: View) -> Table:
    table = new_table("first copy", "", "rows", "about")
    for one in view.copied:
        total = max(one.of, 1)
        bar = ProgressBar(total=total, completed=total if one.done else one.rows, width=BAR_WIDTH)
        table.add_row(one.dataset, bar, f"{one.rows:,}", f"{one.of:,}")
    return table


def _draw_pipelines(view: View) -> Table:
    table = new_table("pipeline", "worked by", "phase", "behind", "rate", "changes applied")
    for one in view.pipelines:
        table.add_row(
            one.name,
            view.workers.get(one.name, "-"),
            Text(one.phase, style=COLOURS.get(one.phase, "")),
            _behind(one).strip(" ()") or "-",
            _rate(one),
            f"{one.status.get('counts', {}).get('changes', 0):,}",
        )
    return table


def _draw_writing(view: View) -> Text:
    written = view.written
    verb = "writes" if view.left else "wrote"
    return Text(
        f"The company {verb}: {written.pgbench_transactions:,} transactions of pgbench"
        f"{f' ({written.pgbench_rate:,.0f}/s)' if view.left else ''},"
        f" {written.subscription_transactions:,} of subscriptions; {written.changes:,} row changes",
        style="dim",
    )


def draw_outcome(outcome: Outcome) -> RenderableType:
    """Both sides, dataset by dataset, and the first keys of what differs."""
    columns = ("dataset", "rows at the source", "at the target", "missing", "stale", "extra", "doubled")
    table = new_table(*columns, "")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for one in outcome.differences:
        numbers = (one.rows, one.target_rows, len(one.missing), len(one.stale), len(one.extra), len(one.doubled))
        same = not (one.lost or one.surplus)
        verdict = Text("same" if same else "differs", style="green" if same else "bold red")
        table.add_row(one.dataset, *(f"{number:,}" for number in numbers), verdict)
    sentences = [sentence for one in outcome.differences for sentence in one.sentences()]
    return Group(Text(), table, *(Text(sentence, style="red") for sentence in sentences))


def _behind(pipeline: Pipeline) -> str:
    """The time and the log that a pipeline is behind."""
    delay, log = pipeline.status.get("delay_ms"), pipeline.status.get("behind_bytes")
    if pipeline.phase != "streaming" or delay is None:
        return ""
    return f" ({delay:,.0f} ms{'' if log is None else ', ' + size(log)})"


def _rate(pipeline: Pipeline) -> str:
    unit = "rows" if pipeline.phase == "copying" else "changes"
    return f"{pipeline.status.get('rate') or 0:,.0f} {unit}/s" if pipeline.phase in ("copying", "streaming") else "-"
