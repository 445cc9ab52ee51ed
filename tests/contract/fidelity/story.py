"""What a story of tables is: tables at both ends, rows that were there before, and what happens to them then."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Story:
    """SQL for both ends, more for each of them, rows there before, and transactions that follow.

    `tables` travel and must be alike in the end; where the target names or shapes them otherwise, `shown` has two
    queries per table instead; `ended` has some for the very end. `form` is
    the only one there is; a `long` one is told in `make fuzz` only; `captures` are those that
    it is told to; `options` are those of the pipeline.
    """

    name: str
    ddl: str
    tables: tuple[Any, ...]
    there: str = ""
    steps: tuple[str, ...] = ()
    source: str = ""
    target: str = ""
    shown: tuple[tuple[str, str], ...] = ()
    ended: tuple[tuple[str, str], ...] = ()
    form: str = ""
    long: bool = False
    captures: tuple[str, ...] = ("log", "poll", "compare")
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name
