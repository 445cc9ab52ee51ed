"""What the house tests look at: the committed files (and those about to be), and Python files as syntax trees."""

import ast
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class File:
    """One file: its path from the root with `/`, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The syntax tree as Python 3.11 reads it; raises SyntaxError."""
        return ast.parse(self.text, self.path, feature_version=(3, 11))


@cache
def paths() -> tuple[str, ...]:
    """Paths of all files that git keeps or would add, sorted."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(path for path in set(listed.split("\0")) if path and (ROOT / path).is_file()))


@cache
def files(*folders: str, suffix: str = ".py") -> tuple[File, ...]:
    """The files with this suffix under the given folders."""
    chosen = (path for path in paths() if path.endswith(suffix) and path.startswith(tuple(f"{f}/" for f in folders)))
    return tuple(File(path, (ROOT / path).read_text(encoding="utf-8")) for path in chosen)


def texts() -> Iterator[File]:
    """Every file that is text."""
    for path in paths():
        try:
            yield File(path, (ROOT / path).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue


def python(text: str, path: str = "nms/planted.py") -> File:
    """A planted Python file."""
    return File(path, text)


def refuse(faults: Iterable[str]) -> None:
    """Fail with one line a fault."""
    if listed := list(faults):
        pytest.fail("\n".join(["", *listed]), pytrace=False)
