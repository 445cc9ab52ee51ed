"""What the demo shows is true to what it sees, in a narrow terminal too."""

import io
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from nms.cli import output
from nms.cli.demo.digest import Difference
from nms.cli.demo.outcome import Outcome
from nms.cli.demo.screen import LiveScreen, PlainScreen, QuietScreen, describe, draw, draw_outcome, open_screen
from nms.cli.demo.traffic import Written
from nms.cli.demo.view import View
from nms.sync.models import Pipeline


def pipeline(name: str, phase: str, **status: Any) -> Pipeline:
    moment = datetime.now(UTC)
    fixed = {"revision": 1, "wanted": "running", "generation": 1, "position": None, "problem": None}
    return Pipeline.model_validate(
        {"name": name, "phase": phase, "status": status, "created_at": moment, "updated_at": moment, **fixed}
    )


COPYING = pipeline(
    "pgbench", "copying", rate=12345.6, counts={"changes": 4321}, epoch=1, delay_ms=None, behind_bytes=5_000_000,
    tables={
        "public.pgbench_accounts": {"copied": 250_000, "of": 500_000, "done": False},
        "public.pgbench_tellers": {"copied": 0, "of": 50, "done": True},
    },
)  # fmt: skip
STREAMING = pipeline(
    "subscriptions", "streaming", rate=80.0, counts={"changes": 1234}, epoch=2, delay_ms=7.4, behind_bytes=2048,
    tables={"public.subscription": {"copied": 101_000, "of": 100_000, "done": True}},
)  # fmt: skip


@pytest.fixture
def view() -> View:
    view = View("The company writes", [COPYING, STREAMING], {"pgbench": "worker 1", "subscriptions": "worker 2"})
    view.written = Written(1500.0, 3000, 500, 2000)
    view.writing_until = time.monotonic() + 10
    return view


def render(drawn: RenderableType, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(drawn)
    return file.getvalue()


def test_the_screen_shows_copy_lag_rate_and_traffic_in_a_terminal_of_80_columns(view: View) -> None:
    shown = render(draw(view))
    for part in ("250,000", "500,000", "12,346", "worker 1", "7 ms", "2.0 kB", "copying", "(1,500/s)", "14,000"):
        assert part in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.splitlines()) < 20, shown


def test_a_finished_copy_is_whole_though_the_worker_that_took_over_does_not_know_its_rows(view: View) -> None:
    tellers = next(one for one in view.copied if one.dataset == "public.pgbench_tellers")
    assert (tellers.rows, tellers.of, tellers.done) == (50, 50, True)


def test_a_line_says_how_much_is_copied_and_how_far_behind_each_pipeline_is(view: View) -> None:
    line = describe(view)
    assert line.split("; ") == [
        "copied 351,050 of 601,050 rows",
        "14,000 changes written",
        "pgbench copying",
        "subscriptions streaming (7 ms, 2.0 kB)",
    ]


def test_before_the_pipelines_start_the_screen_says_what_is_being_done() -> None:
    assert "Setting up" in render(draw(View()))


def test_the_last_line_is_exact_and_differences_are_named() -> None:
    good = Difference("public.subscription", 100_000, 100_000)
    bad = Difference("public.pgbench_history", 5, 6, missing=["a"], doubled=["b", "b"])
    assert outcome(good).sentence() == "in sync: 100,000 rows, 14,000 changes, 0 lost, 0 doubled"
    assert outcome(good, bad).sentence() == "out of sync: 100,005 rows, 14,000 changes, 1 lost, 2 doubled"
    shown = render(draw_outcome(outcome(good, bad)), 110)
    assert "public.pgbench_history: 2 doubled at the target: b, b" in shown
    assert "differs" in shown


def outcome(*differences: Difference) -> Outcome:
    return Outcome(list(differences), Written(0.0, 3000, 500, 2000), 9000, 3.4, 30.0)


@pytest.mark.parametrize(("json_wanted", "kind"), [(True, QuietScreen), (False, PlainScreen)])
def test_without_a_terminal_there_are_lines_and_with_json_none(*, json_wanted: bool, kind: type) -> None:
    output.use_json(json_wanted)
    try:
        assert type(open_screen()) is kind
    finally:
        output.use_json(False)


def test_what_happens_stands_above_the_live_part(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, width=100, height=40, force_terminal=True)
    monkeypatch.setattr(output, "console", lambda: terminal)
    with LiveScreen() as screen:
        screen.show(view)
        screen.tell("SIGKILL to worker 1.")
    assert "SIGKILL to worker 1." in file.getvalue()
