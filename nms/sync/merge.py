"""What becomes of a record that both sides may have changed since they were last alike (pure, DESIGN 4.7).

All three states of a record are in one form: the text that the database has for a value, by the name of a field; None
is a record that is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Literal

State = Mapping[str, str | None] | None
Policy = Literal["source", "target", "newest", "merge", "manual"]
Side = Literal["source", "target"]


class Kind(StrEnum):
    """What kind of conflict it is."""

    BOTH_CHANGED = "both-changed"
    BOTH_NEW = "both-new"
    DELETED_AT_SOURCE = "deleted-at-source"
    DELETED_AT_TARGET = "deleted-at-target"
    UNKEPT = "unkept"


@dataclass(frozen=True, slots=True)
class Common:
    """The last synced state: what the database had then, and what the remote had; `revision` grows with each."""

    local: State = None
    remote: State = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """Who wins: the policy, the field that tells which side is newer, and who wins of single fields (policy merge)."""

    policy: Policy = "merge"
    newest: str | None = None
    fields: Mapping[str, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conflict:
    """That both sides changed a record, and what came of it: the winner, or `merged`, `waiting`, `unkept`."""

    kind: Kind
    outcome: Literal["source", "target", "merged", "waiting", "unkept"]
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What either side should have from now on, and the conflict it comes from, if it is one."""

    local: State
    remote: State
    conflict: Conflict | None = None

    @property
    def waits(self) -> bool:
        """Whether somebody must decide; until then nothing is written."""
        return self.conflict is not None and self.conflict.outcome == "waiting"


def merge(base: Common | None, local: State, remote: State, rules: Rules) -> Decision:
    """Both sides of a record as they should be; deleting what was edited elsewhere is a conflict that the edit wins."""
    known = base or Common()
    if base is not None and local == known.local:
        return Decision(_follow(local, known.remote, remote), remote)
    if base is not None and remote == known.remote:
        return Decision(local, _follow(remote, known.local, local))
    if local is None or remote is None:
        if local is remote or (base is None):
            # Gone on both sides, or new on one.
            either = local if remote is None else remote
            return Decision(either, either)
        return _settle_deletion(local, remote, rules)
    return _settle(base, local, remote, rules)


def changed(before: State, after: State) -> frozenset[str]:
    """The fields that have another value than before; all of them where there was no record."""
    if after is None:
        return frozenset()
    return frozenset(name for name in after if before is None or before.get(name) != after[name])


def _follow(mine: State, before: State, theirs: State) -> State:
    """My record with what changed on the other side since."""
    if theirs == before:
        return mine
    if mine is None or theirs is None:
        return theirs
    # A null is nothing to tell a side that never had the field.
    told = {name for name in changed(before, theirs) if name in mine or theirs[name] is not None}
    return {**mine, **{name: theirs[name] for name in told}}


def _settle_deletion(local: State, remote: State, rules: Rules) -> Decision:
    kind = Kind.DELETED_AT_SOURCE if remote is None else Kind.DELETED_AT_TARGET
    edited: Side = "target" if remote is None else "source"
    if rules.policy == "manual":
        return Decision(local, remote, Conflict(kind, "waiting"))
    winner: Side = edited
    if rules.policy in ("source", "target"):
        winner = "source" if rules.policy == "source" else "target"
    state = remote if winner == "source" else local
    return Decision(state, state, Conflict(kind, winner))


def _settle(
    base: Common | None, local: Mapping[str, str | None], remote: Mapping[str, str | None], rules: Rules
) -> Decision:
    ours = changed(base.local if base else None, local)
    theirs = changed(base.remote if base else None, remote)
    apart = {name for name in local if name in remote and local[name] != remote[name]}
    # What the remote never told of is no disagreement: it is told what changed here.
    remote = {**remote, **{name: local[name] for name in ours - set(remote) if local[name] is not None}}
    fought = tuple(sorted(apart & ours & theirs))
    kind = Kind.BOTH_CHANGED if base is not None else Kind.BOTH_NEW
    if rules.policy == "merge":
        ours |= {name for name in fought if rules.fields.get(name) == "target"}
        theirs -= {name for name in fought if rules.fields.get(name) == "target"}
        left = {**local, **{name: remote[name] for name in theirs}}
        right = {**remote, **{name: local[name] for name in (ours - theirs) & set(remote)}}
        return Decision(left, right, Conflict(kind, "merged", fought) if fought else None)
    lost = tuple(sorted(apart))
    if not lost:
        return Decision(local, remote)
    if rules.policy == "manual":
        return Decision(local, remote, Conflict(kind, "waiting", lost))
    winner = _newer(local, remote, rules.newest) if rules.policy == "newest" else rules.policy
    if winner == "source":
        return Decision({**local, **remote}, remote, Conflict(kind, "source", lost))
    return Decision(
        local, {name: local.get(name, text) for name, text in remote.items()}, Conflict(kind, "target", lost)
    )


def _newer(local: Mapping[str, str | None], remote: Mapping[str, str | None], name: str | None) -> Side:
    """The side whose field is greater, as a number where both are; of equal ones the source's."""
    left, right = (side.get(name or "") for side in (local, remote))
    if left is None or right is None:
        return "source" if left is None else "target"
    try:
        return "target" if Decimal(left) > Decimal(right) else "source"
    except InvalidOperation:
        return "target" if left > right else "source"
