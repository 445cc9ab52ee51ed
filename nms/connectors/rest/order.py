"""What is to be done with one record at a remote, as it is written down before it is sent, and what came of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from nms.common.ledger import Link, State
from nms.common.strict_json import parse, write
from nms.connectors.rest.values import Record

HEAD = 2_000
"""So much of an answer is kept, in characters."""


class Act(StrEnum):
    """What is to be done: `ensure` creates or updates, whatever is there; `move` gives a record another key.

    `follow` brings a row as it is now: an update where a record is known of, else as `ensure`.
    """

    CREATE = "create"
    ENSURE = "ensure"
    UPDATE = "update"
    DELETE = "delete"
    MOVE = "move"
    FOLLOW = "follow"


@dataclass(frozen=True, slots=True)
class Order:
    """One act on one record.

    `values` are those known (`whole`: all), `old` the key before a move, `link` what is known of the record at the
    remote; of `seed` the idempotency keys are made. `doubtful`: it may have been sent before, and nobody knows whether
    it had its effect. `elsewhere`: its record is known at another place only. `again`: what was written last counts for
    nothing, all values are to be there. `own` and `own_old` are the keys by our
    own names, so that a link outlives other names there.
    """

    act: Act
    key: Record
    values: Record
    whole: bool = True
    old: Record | None = None
    link: Link | None = None
    seed: str = ""
    doubtful: bool = False
    elsewhere: bool = False
    own: Record | None = None
    own_old: Record | None = None
    again: bool = False

    def plan(self) -> str:
        """The order as a text that outlives a crash."""
        body = {
            "act": self.act.value,
            "key": self.key,
            "values": self.values,
            "whole": self.whole,
            "old": self.old,
            "seed": self.seed,
            "own": self.own,
            "own_old": self.own_old,
            "again": self.again,
        }
        return write(body)

    @classmethod
    def of(cls, plan: str, link: Link | None = None) -> Self:
        """The order of a plan that was found after a crash."""
        told: Mapping[str, Any] = parse(plan.encode())
        act, seed, own = Act(told["act"]), told["seed"], (told.get("own"), told.get("own_old"))
        rest = (*own, told.get("again", False))
        return cls(act, told["key"], told["values"], told["whole"], told["old"], link, seed, True, False, *rest)

    @property
    def name(self) -> str:
        """The key that the record's link is kept under."""
        return write(self.own or self.key)

    @property
    def linked(self) -> str:
        """The key that the link is kept under until now."""
        return self.name if self.old is None else write(self.own_old or self.old)


@dataclass(slots=True)
class Outcome:
    """What came of an order: the last request and its answer, whether the remote has it, what is known from now on."""

    state: State = "saved"
    method: str | None = None
    path: str | None = None
    idempotency_key: str | None = None
    body: str | None = None
    status: int | None = None
    answer: str | None = None
    detail: str | None = None
    attempts: int = 0
    missing: bool = False
    links: list[Link] = field(default_factory=list)


def as_uuid(*parts: str) -> str:
    """A key in the form of a UUID, as most remotes like it: the same for the same parts, and for nothing else."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def head_of(body: bytes) -> str:
    """The beginning of an answer, as a person reads it and a database keeps it."""
    return body[: 4 * HEAD].decode(errors="replace")[:HEAD].replace("\0", "\ufffd")
