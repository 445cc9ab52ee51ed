"""A chunk brought up to date is the table as it is at the high mark, whatever its snapshot saw."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from nms.common.change import Change, Column, Op, Shape, frame
from nms.connectors.postgres.window import Snapshot, Window, advance

SHAPE = Shape("public.t", (Column("id", "integer"), Column("a", "text"), Column("big", "text")), (0,))
Row = tuple[bytes, ...]
KEYS = [frame(str(number).encode()) for number in range(6)]
LOW, SPLIT = 3, frame(b"3")


@dataclass
class Transaction:
    """One transaction's changes and what the table is after it."""

    xid: int
    changes: list[Change]


def run(state: dict[bytes, Row], changes: list[Change]) -> dict[bytes, Row]:
    state = dict(state)
    for change in changes:
        if change.op is Op.TRUNCATE:
            state.clear()
            continue
        base = state.pop(change.old_key or change.key, None)
        if change.op is not Op.DELETE:
            whole = base or change.values
            state[change.key] = tuple(
                new if new is not None else old  # type: ignore[misc]
                for old, new in zip(whole, change.values, strict=True)
            )
    return state


@st.composite
def source_changes(draw: st.DrawFn, state: dict[bytes, Row]) -> Change:
    """A change that could happen to a table in this state."""
    key = draw(st.sampled_from(KEYS))
    value = frame(draw(st.sampled_from([b"u", b"v", b"w"])))
    if key not in state:
        return Change(SHAPE, Op.INSERT, key, (key, value, frame(b"big" + value)))
    kind = draw(st.sampled_from(["update", "partial", "delete", "move", "truncate"]))
    if kind == "delete":
        return Change(SHAPE, Op.DELETE, key)
    if kind == "truncate":
        return Change(SHAPE, Op.TRUNCATE, b"")
    free = [other for other in KEYS if other not in state]
    if kind == "move" and free:
        new = draw(st.sampled_from(free))
        return Change(SHAPE, Op.UPDATE, new, (new, value, draw(st.sampled_from([None, frame(b"b")]))), old_key=key)
    return Change(SHAPE, Op.UPDATE, key, (key, value, None if kind == "partial" else frame(b"c")))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[bytes, Row], list[Transaction], int]:
    """A table, transactions in commit order between low and high, and how many of them the snapshot saw."""
    start: dict[bytes, Row] = {key: (key, frame(b"s"), frame(b"big")) for key in draw(st.sets(st.sampled_from(KEYS)))}
    state = dict(start)
    transactions = []
    for number in range(draw(st.integers(0, 6))):
        changes = []
        for _ in range(draw(st.integers(1, 3))):
            change = draw(source_changes(state))
            state = run(state, [change])
            changes.append(change)
        transactions.append(Transaction(100 + number, changes))
    return start, transactions, draw(st.integers(0, len(transactions)))


@settings(max_examples=400)
@given(scenes())
def test_a_chunk_of_a_whole_table_is_the_table_at_high(
    scene: tuple[dict[bytes, Row], list[Transaction], int],
) -> None:
    start, transactions, seen = scene
    visible = run(start, [change for one in transactions[:seen] for change in one.changes])
    window = Window("public.t")
    for one in transactions:
        window.note(one.xid, one.changes)
    snapshot = Snapshot(xmax=1000, running=frozenset(one.xid for one in transactions[seen:]))
    fresh = advance(SHAPE, list(visible.values()), window.unseen(snapshot))
    expected = run(start, [change for one in transactions for change in one.changes])
    assert {row[0]: row for row in fresh} == expected


def test_a_snapshot_sees_what_ended_before_it_and_nothing_later() -> None:
    snapshot = Snapshot.parse("95:105:97,99")
    assert [xid for xid in range(94, 108) if snapshot.sees(xid)] == [94, 95, 96, 98, 100, 101, 102, 103, 104]


def test_transaction_ids_are_compared_across_their_wraparound() -> None:
    epoch = 1 << 32
    snapshot = Snapshot(xmax=epoch + 5, running=frozenset({epoch + 2}))
    assert snapshot.sees(0xFFFFFFF0)
    assert snapshot.sees(1)
    assert not snapshot.sees(2)
    assert not snapshot.sees(7)


def test_a_window_that_was_spoiled_says_so() -> None:
    window = Window("public.t")
    window.spoil()
    assert window.void
