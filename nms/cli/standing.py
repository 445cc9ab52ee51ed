"""How pipelines and runs are shown to people: tables with lag, rate, progress, and problems with their remedies."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nms.sync.models import Pipeline

COLOURS = {
    "streaming": "green",
    "copying": "cyan",
    "opening": "cyan",
    "waiting": "dim",
    "paused": "yellow",
    "retrying": "yellow",
    "halted": "bold red",
    "removing": "dim",
    "running": "green",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "queued": "dim",
}
_UNITS = (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10))


def describe(pipeline: Pipeline, now: datetime) -> dict[str, Any]:
    """A pipeline as `--json` shows it: all of it, whether it is well, and why not."""
    trouble = pipeline.trouble(now)
    return {**pipeline.model_dump(mode="json"), "healthy": trouble is None, "trouble": trouble}


def draw_pipelines(pipelines: Sequence[Pipeline], now: datetime) -> RenderableType:
    """The table of pipelines, and below it what keeps any of them from being well."""
    table = new_table("pipeline", "phase", "lag", "behind", "rate", "copied", "applied", "held")
    for one in pipelines:
        status = one.status
        table.add_row(
            one.name,
            Text(one.phase, style=COLOURS.get(one.phase, "")),
            _milliseconds(status.get("delay_ms")) if one.phase == "streaming" else "-",
            size(status.get("behind_bytes")),
            _rate(status.get("rate"), one.phase),
            _copied(one),
            _number(status.get("counts", {}).get("changes")),
            Text(_number(one.held), style="bold red" if one.held else ""),
        )
    return Group(table, *(part for one in pipelines for part in _troubles(one, now)))


def draw_pipeline(pipeline: Pipeline, now: datetime) -> RenderableType:
    """One pipeline with the progress of each dataset."""
    parts: list[RenderableType] = [draw_pipelines([pipeline], now)]
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(pipeline).items():
        facts.add_row(name, value)
    parts += [Text(), facts]
    datasets = pipeline.status.get("tables") or {}
    if datasets:
        table = new_table("dataset", "rows copied", "about", "", "state")
        for name, state in datasets.items():
            done, total = state["copied"], max(state["of"] or 0, state["copied"], 1)
            bar = ProgressBar(total=total, completed=total if state["done"] else done, width=30)
            about = _number(max(state["of"] or 0, done))
            told = "paused" if name in pipeline.left_out else "copied" if state["done"] else "copying"
            table.add_row(name, _number(done), about, bar, told)
        parts += [Text(), table]
    if pipeline.status.get("events"):
        parts += [Text(), _draw_events(pipeline.status["events"])]
    compared = pipeline.status.get("compared") or {}
    if compared:
        table = new_table("dataset", "rows at source", "at target", "apart", "written at source", "at target")
        for name, last in compared.items():
            source, target = last["source"], last["target"]
            written = target["insert"] + target["update"] + target["delete"]
            counts = (source["rows"], target["rows"], source["apart"] + target["apart"], source["taken"], written)
            table.add_row(name, *map(_number, counts))
        parts += [Text(), Text(f"the last of {plural(pipeline.status['rounds'], 'round')}:"), table]
    for name, pause in pipeline.left_out.items():
        parts += [Text(), *_draw_pause(pipeline.name, name, pause)]
    return Group(*parts)


def _draw_events(datasets: Mapping[str, Mapping[str, int]]) -> RenderableType:
    """What came by since the worker began, and in how much of it each dataset found a record."""
    table = new_table("dataset", "events", "with a record")
    for name, told in datasets.items():
        missed = told["seen"] > 0 and told["met"] == 0
        table.add_row(name, _number(told["seen"]), Text(_number(told["met"]), style="bold yellow" if missed else ""))
    return table


def _draw_pause(pipeline: str, table: str, pause: Mapping[str, Any]) -> list[RenderableType]:
    run = f"run what follows, then `nms resume {pipeline}`" if pause["sql"] else f"then `nms resume {pipeline}`"
    return [
        Text.assemble((f"{table} is paused: ", "yellow"), str(pause["detail"])),
        Text.assemble(("remedy: ", "bold green"), run),
        *(Text(f"  {line}") for line in str(pause["sql"]).splitlines()),
        Text(f"code:   {pause['code']}", style="dim"),
    ]


def draw_problem(problem: Mapping[str, Any], subject: str) -> list[RenderableType]:
    """A stored problem: sentence, pointers, remedy, code."""
    lines: list[RenderableType] = [
        Text.assemble((f"{subject}: ", "bold red"), str(problem.get("detail") or problem.get("title") or "a problem"))
    ]
    lines += [Text(f"  {item.get('pointer')}: {item.get('detail')}") for item in problem.get("errors") or ()]
    lines.append(Text.assemble(("remedy: ", "bold green"), str(problem.get("remedy") or "-")))
    lines.append(Text(f"code:   {problem.get('code')}", style="dim"))
    return lines


def new_table(*columns: str) -> Table:
    """A table without lines, as every list of NMS looks."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def size(count: float | None) -> str:
    """Bytes as a person reads them."""
    if count is None:
        return "-"
    for unit, factor in _UNITS:
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{int(count)} B"


def plural(count: int, word: str) -> str:
    """A number of things: `1 change`, `2 changes`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _troubles(pipeline: Pipeline, now: datetime) -> list[RenderableType]:
    trouble = pipeline.trouble(now)
    if trouble is None:
        return []
    if pipeline.problem is not None:
        return [Text(), *draw_problem(pipeline.problem, pipeline.name)]
    return [Text(), Text.assemble((f"{pipeline.name}: ", "bold red"), trouble)]


def _facts(pipeline: Pipeline) -> dict[str, str]:
    status, counts = pipeline.status, pipeline.status.get("counts", {})
    facts = {
        "wanted": pipeline.wanted,
        "generation": str(pipeline.generation),
        "revision": str(pipeline.revision),
        "position": _position(pipeline.position or {}),
        "log retained": size(status.get("retained_bytes")),
        "transactions": _number(counts.get("transactions")),
        "changes folded": _number(counts.get("folded")),
        "rows missing": _number(counts.get("missing")),
        "told at": pipeline.updated_at.isoformat(sep=" ", timespec="seconds"),
    }
    if status.get("waiting_for_transactions"):
        facts["waiting"] = f"the copy begins when {status['waiting_for_transactions']} open transactions have ended"
    if status.get("over_budget"):
        facts["log budget"] = "exceeded: the source retains more log than `wal_budget`"
    return facts


def _position(position: Mapping[str, Any]) -> str:
    return str(position.get("lsn") or position.get("snapshot") or position.get("number") or "-")


def _copied(pipeline: Pipeline) -> RenderableType:
    datasets = (pipeline.status.get("tables") or {}).values()
    done = sum(one["copied"] for one in datasets)
    total = sum(max(one["of"] or 0, one["copied"]) for one in datasets)
    if pipeline.phase != "copying" or not total:
        return _number(done) if datasets else "-"
    return f"{_number(done)} of {_number(total)} ({100 * done // total} %)"


def _rate(rate: float | None, phase: str) -> str:
    if rate is None or phase not in ("copying", "streaming"):
        return "-"
    return f"{rate:,.0f} {'rows' if phase == 'copying' else 'changes'}/s"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.0f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
