"""Folding: a key's changes folded to one do to a record what they did one after the other."""

from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import NULL, Change, Column, Op, Shape, compact, frame, split_key, unframe

SHAPE = Shape("public.t", (Column("id", "integer"), Column("a", "text"), Column("big", "text")), (0,))
Row = tuple[bytes, ...]

fields = st.sampled_from([frame(b"x"), frame(b"y"), frame(b""), NULL])
keys = st.sampled_from([frame(b"1"), frame(b"2"), frame(b"3")])


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[bytes, Row], list[Change]]:
    """A table, and changes that could have happened to it: updates and deletes only of rows that are there."""
    table: dict[bytes, Row] = {}
    for key in draw(st.sets(keys)):
        table[key] = (key, draw(fields), draw(fields))
    state = dict(table)
    changes = []
    for _ in range(draw(st.integers(0, 12))):
        key = draw(keys)
        if key not in state:
            state[key] = (key, draw(fields), draw(fields))
            changes.append(Change(SHAPE, Op.INSERT, key, state[key]))
        elif draw(st.booleans()):
            big = draw(st.one_of(st.none(), fields))
            values = (key, draw(fields), big)
            state[key] = (key, values[1], state[key][2] if big is None else big)
            changes.append(Change(SHAPE, Op.UPDATE, key, values))
        else:
            del state[key]
            changes.append(Change(SHAPE, Op.DELETE, key))
    return table, changes


def apply(table: dict[bytes, Row], changes: list[Change]) -> dict[bytes, Row]:
    """What the target does with changes: whole rows are written over, partial ones only where there is a row."""
    state = dict(table)
    for change in changes:
        if change.op is Op.DELETE:
            state.pop(change.key, None)
        elif change.partial:
            if change.key in state:
                old = state[change.key]
                merged = tuple(b if n is None else n for b, n in zip(old, change.values, strict=True))
                state[change.key] = merged
        else:
            state[change.key] = tuple(field for field in change.values if field is not None)
    return state


@given(histories())
def test_folded_changes_leave_the_table_that_the_single_ones_leave(
    history: tuple[dict[bytes, Row], list[Change]],
) -> None:
    table, changes = history
    assert apply(table, compact(changes)) == apply(table, changes)


@given(histories())
def test_folding_leaves_at_most_one_change_a_key_in_the_order_of_last_writes(
    history: tuple[dict[bytes, Row], list[Change]],
) -> None:
    folded = compact(history[1])
    last = list(dict.fromkeys(change.key for change in reversed(history[1])))[::-1]
    assert [change.key for change in folded] == last


@given(histories())
def test_folded_changes_tried_twice_change_nothing_more(history: tuple[dict[bytes, Row], list[Change]]) -> None:
    table, changes = history
    once = apply(table, compact(changes))
    assert apply(once, compact(changes)) == once


def test_a_delete_after_an_insert_stays_since_the_target_may_have_the_row() -> None:
    key = frame(b"1")
    insert, delete = Change(SHAPE, Op.INSERT, key, (key, NULL, NULL)), Change(SHAPE, Op.DELETE, key)
    assert [change.op for change in compact([insert, delete])] == [Op.DELETE]


def test_an_insert_and_a_partial_update_become_a_whole_insert() -> None:
    key = frame(b"1")
    insert = Change(SHAPE, Op.INSERT, key, (key, frame(b"a"), frame(b"toast")))
    update = Change(SHAPE, Op.UPDATE, key, (key, frame(b"b"), None))
    (folded,) = compact([insert, update])
    assert (folded.op, folded.values) == (Op.INSERT, (key, frame(b"b"), frame(b"toast")))


@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), min_size=1, max_size=4))
def test_a_key_splits_into_the_fields_that_it_joins(values: list[bytes | None]) -> None:
    framed = [frame(value) for value in values]
    assert [unframe(field) for field in split_key(b"".join(framed))] == values
