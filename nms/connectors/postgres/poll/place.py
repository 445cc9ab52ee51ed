"""The position of a poll: what the target has seen of each table, and when that means nothing any more (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nms.common.flow import Position
from nms.connectors.postgres.snapshot import Dataset

# 32 bits tell which of two transactions was first while less than 2^31 lie between them; less what may begin meanwhile.
REACH = (1 << 31) - (1 << 20)
_MARKS_PER_OVERLAP = 8
PLACE = ("generation", "server", "place", "since")
"""The part of a position that is of no table; `since`: the place at which everything was copied, where that counts."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What was visible to a round: a snapshot in its text form, xmin:xmax:xip (PostgreSQL manual 9.27.8)."""

    snapshot: str

    @property
    def xmin(self) -> int:
        """Every transaction below this one had ended."""
        return int(self.snapshot.split(":")[0])

    @property
    def xmax(self) -> int:
        """No transaction from this one on was visible."""
        return int(self.snapshot.split(":")[1])


@dataclass(slots=True)
class Polled:
    """A table that is polled: how its changes are found, and what was seen of it.

    `by` is `scan` (the system column xmin), `column` (of type xid8), `log` (the change log) or `value` (a time or
    number, `overlap` seconds of it again and again). `lacking` says that a partition was without the triggers of the
    change log when it was looked at last; what was noted by transactions below `kept` may be gone.
    """

    dataset: Dataset
    oid: int
    by: str = "scan"
    cursor: str = ""
    kind: str = ""
    overlap: float = 300.0
    mark: str = ""
    kept: int = 0
    members: frozenset[int] = frozenset()
    lacking: bool = False
    seen: list[tuple[float, str]] = field(default_factory=list)
    sweep: bool = False

    @property
    def relations(self) -> frozenset[int]:
        """The table and its partitions, by their object ids."""
        return self.members | {self.oid}

    @property
    def bound(self) -> str | None:
        """The value from which on rows must be read again; None before the overlap is known, when it takes a scan."""
        if not self.seen:
            return None
        latest = self.seen[-1][0]
        return next((value for at, value in reversed(self.seen) if at <= latest - self.overlap), None)

    def note_value(self, at: float, value: str | None) -> None:
        """Remember the highest value of a round; what is older than the overlap is needed once."""
        if value is None:
            return
        spaced = len(self.seen) < 2 or at - self.seen[-2][0] >= self.overlap / _MARKS_PER_OVERLAP
        self.seen = [*(self.seen if spaced else self.seen[:-1]), (at, value)]
        old = [one for one in self.seen if one[0] <= at - self.overlap]
        self.seen = self.seen[max(len(old) - 1, 0) :]


def start_of(place: Mapping[str, Any], horizon: Horizon, polled: Sequence[Polled], *, sweep: bool) -> Position:
    """The position at which a copy of everything begins."""
    tables = {one.dataset.name: {"sweep": sweep} for one in polled}
    return {**place, "snapshot": horizon.snapshot, "ways": {}, "tables": tables}


def passed(place: Mapping[str, Any], horizon: Horizon, polled: Sequence[Polled]) -> Position:
    """The position at which nothing is copied, and only what changes from now on counts."""
    for one in polled:
        one.dataset.done = True
    return position_of(place, horizon, polled)


def position_of(place: Mapping[str, Any], horizon: Horizon, polled: Sequence[Polled]) -> Position:
    """The position of a snapshot; `place` has what PLACE names; `tables` is there while copying."""
    position: Position = {
        **place,
        "snapshot": horizon.snapshot,
        "ways": {one.dataset.name: _way(one) for one in polled},
    }
    if not all(one.dataset.done for one in polled):
        position["tables"] = {one.dataset.name: _state(one) for one in polled}
    return position


def restore(position: Position, polled: Iterable[Polled]) -> None:
    """Set tables to where a position left them; one that it does not name is copied."""
    ways, tables = position.get("ways", {}), position.get("tables", {})
    for one in polled:
        name, dataset = one.dataset.name, one.dataset
        way, state = ways.get(name), tables.get(name)
        one.members = frozenset(way["members"]) if way else one.members
        one.lacking = bool(way and way["lacking"])
        one.seen = [(float(at), str(value)) for at, value in way["seen"]] if way else []
        if state is None:
            dataset.done = dataset.started = way is not None
            continue
        dataset.after = tuple(state["after"]) if state.get("after") is not None else None
        dataset.done, dataset.rows = state.get("done", False), state.get("rows", 0)
        dataset.started = dataset.done or dataset.after is not None
        one.sweep = state.get("sweep", False)


def find_cause(position: Position | None, stand: tuple[str, Horizon], polled: Sequence[Polled]) -> str | None:
    """Why everything must be read anew, if it must; `stand` is the server as it is now and what is visible there."""
    server, now = stand
    if position is None or "snapshot" not in position:
        return "nothing was polled before"
    then = Horizon(position["snapshot"])
    if position["server"] != server:
        return f"the position is of server {position['server']}, this is {server}"
    if then.xmax > now.xmax:
        return "the source went back in time"
    if now.xmax - then.xmin >= REACH and any(one.by in ("scan", "value") for one in polled):
        return "more transactions went by than transaction ids of rows can tell apart"
    for one in polled:
        way = position["ways"].get(one.dataset.name)
        if way is not None and way["oid"] != one.oid:
            return f"{one.dataset.name} is another table than before"
        if way is not None and one.by == "log" and (way["mark"] != one.mark or one.kept > then.xmin):
            return f"changes of {one.dataset.name} were not noted for a while"
    return None


def _way(one: Polled) -> dict[str, Any]:
    return {
        "oid": one.oid,
        "mark": one.mark,
        "members": sorted(one.members),
        "lacking": one.lacking,
        "seen": [list(mark) for mark in one.seen],
    }


def _state(one: Polled) -> dict[str, Any]:
    dataset = one.dataset
    return {"done": dataset.done, "after": dataset.after, "rows": dataset.rows, "sweep": one.sweep}
