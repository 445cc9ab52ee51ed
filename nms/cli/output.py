"""What a command prints: tables and sentences for people, or JSON documents with `--json`.

Answers go to standard output; problems go to standard error, so that a pipe never sees half of each.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nms.common.problem import Problem


class Exit(IntEnum):
    """What a command tells the shell."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    UNHEALTHY = 3
    LATE = 4


WIDE = 240
_json: ContextVar[bool] = ContextVar("json", default=False)


def use_json(wanted: bool) -> None:
    """Choose JSON for everything this command prints from here on."""
    _json.set(wanted)


def is_json() -> bool:
    """Whether `--json` was given."""
    return _json.get()


def console(*, stderr: bool = False) -> Console:
    """A rich console on today's standard output or error; wide where it is no terminal, so that nothing is cut."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=None if terminal else WIDE)


def print_json(value: Any) -> None:
    """Print one JSON document on one line; times are ISO 8601, unknown types are their text."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(sentence: str, **facts: Any) -> None:
    """Print a sentence; with `--json` an object of its facts and the sentence as `detail`."""
    if is_json():
        print_json({"detail": sentence, **facts})
    else:
        console().print(Text(sentence))


def tell(sentence: str, **facts: Any) -> None:
    """Print what is going on, beside the answer: on standard error, and with `--json` as an object there."""
    if is_json():
        sys.stderr.write(json.dumps({"detail": sentence, **facts}, default=_plain, ensure_ascii=False) + "\n")
        sys.stderr.flush()
    else:
        console(stderr=True).print(Text(sentence, style="dim"))


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "There is nothing.") -> None:
    """Print rows as a table of the named columns; with `--json` an array of the whole rows."""
    if is_json():
        print_json([dict(row) for row in rows])
        return
    if not rows:
        console().print(Text(empty))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console().print(table)


def show_record(record: Mapping[str, Any]) -> None:
    """Print one record as `name  value` lines; with `--json` an object."""
    if is_json():
        print_json(dict(record))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in record.items():
        table.add_row(name.replace("_", " "), Text(_cell(value)))
    console().print(table)


def show_problem(problem: Problem) -> None:
    """Print a problem on standard error: its sentence, its pointers, its remedy and its code."""
    if is_json():
        sys.stderr.write(json.dumps(problem.to_dict(), default=_plain, ensure_ascii=False) + "\n")
        return
    screen = console(stderr=True)
    screen.print(Text.assemble(("problem: ", "bold red"), problem.detail))
    for item in problem.pointers:
        screen.print(Text(f"  {item.pointer}: {item.detail}"))
    screen.print(Text.assemble(("remedy:  ", "bold green"), problem.remedy))
    screen.print(Text(f"code:    {problem.code}", style="dim"))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, dict | list):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
