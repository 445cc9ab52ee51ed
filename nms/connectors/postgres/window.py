"""What a chunk of a backfill owes to the transactions beside it: pure (DESIGN 4.3)."""

from collections.abc import Iterable
from dataclasses import dataclass

from nms.common.change import UNCHANGED, Change, Field, Op, Shape, overlay

_WRAP = 1 << 32
WINDOW_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions a statement saw (`pg_current_snapshot`, PostgreSQL manual 9.27.8)."""

    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """From PostgreSQL's text form, xmin:xmax:xip,xip."""
        _, xmax, running = text.split(":")
        return cls(int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """Whether the effects of a transaction, by the 32 bits of its id the log has, are visible."""
        full = self.xmax - (self.xmax - xid) % _WRAP
        if self.xmax - full >= _WRAP >> 1:
            full += _WRAP
        return full < self.xmax and full not in self.running


class Window:
    """The changes of one table between a chunk's low and high mark, with their transactions."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.void = False
        self.xids: set[int] = set()
        self.repairs: set[bytes] = set()
        self._touched: list[tuple[int, Change]] = []

    def note(self, xid: int, changes: Iterable[Change]) -> None:
        """Remember what a transaction did to the table; too much of it voids the window."""
        self.xids.add(xid)
        for change in changes:
            if change.shape.dataset == self.dataset:
                self._touched.append((xid, change))
        if len(self._touched) > WINDOW_LIMIT:
            self.spoil()

    def spoil(self) -> None:
        """The chunk cannot be brought up to date from here; it is read again."""
        self.void = True
        self._touched = []

    def is_mixed(self, shape: Shape) -> bool:
        """Whether a change has another shape: the table's columns changed meanwhile."""
        return any(change.shape is not shape for _, change in self._touched)

    def unseen(self, snapshot: Snapshot) -> list[Change]:
        """The changes, in commit order, whose transactions the chunk did not see."""
        return [change for xid, change in self._touched if not snapshot.sees(xid)]


def advance(shape: Shape, rows: Iterable[tuple[bytes, ...]], unseen: Iterable[Change]) -> list[tuple[bytes, ...]]:
    """The rows of a chunk as they are after the changes it did not see.

    A change is applied to the row it read, so a value that the change left out as unchanged comes from that row.
    """
    state: dict[bytes, tuple[Field, ...]] = {shape.key_of(row): row for row in rows}
    for change in unseen:
        if change.op is Op.TRUNCATE:
            state.clear()
            continue
        base = state.pop(change.key if change.old_key is None else change.old_key, None)
        if change.op is Op.DELETE:
            continue
        if UNCHANGED not in change.values:
            state[change.key] = change.values
        elif base is not None:
            state[change.key] = overlay(base, change.values)
    return [tuple(field for field in row if field is not None) for row in state.values()]
