"""What the logs of both sides say, and the verdict over them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

TABLES = {
    "account": "id::text",
    "line": "account || '/' || n",
    "subscription": "email",
    "event_log": "id::text",
    "bulk": "id::text",
    "scratch": "id::text",
}
"""Table name -> SQL expression of its key as text; parents before children."""


class Written(NamedTuple):
    """One row version that a committed source transaction wrote; op is I, U or D."""

    tablename: str
    key: str
    version: int
    op: str
    txid: int


class Effect(NamedTuple):
    """One effect on one key in a committed target transaction; a version of None means that the row is absent."""

    tablename: str
    key: str
    seq: int
    target_xid: int
    before: int | None
    after: int | None


class Fault(StrEnum):
    """What a pipeline can do wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    REORDERED = "reordered"
    HALF_VISIBLE = "half-visible"
    INVENTED = "invented"


@dataclass
class Verdict:
    """How often each fault was seen, with a few examples of each."""

    counts: dict[Fault, int] = field(default_factory=lambda: dict.fromkeys(Fault, 0))
    examples: dict[Fault, list[str]] = field(default_factory=lambda: {fault: [] for fault in Fault})
    facts: dict[str, int] = field(default_factory=dict)

    def add(self, fault: Fault, sentence: str) -> None:
        self.counts[fault] += 1
        if len(self.examples[fault]) < 10:
            self.examples[fault].append(sentence)

    @property
    def clean(self) -> bool:
        return not any(self.counts.values())

    def __str__(self) -> str:
        lines = [", ".join(f"{fault} {count}" for fault, count in self.counts.items())]
        lines += [f"  {fault}: {sentence}" for fault in Fault for sentence in self.examples[fault]]
        return "\n".join(lines)
