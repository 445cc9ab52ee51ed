"""Changes of a filtered table keep at the target what the filter lets in, whatever the log tells of old rows."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import Change, Column, Field, Op, Shape, frame, overlay
from nms.common.condition import Condition
from nms.connectors.postgres.filter import Filter
from nms.connectors.postgres.pgoutput import Decoder, Layout, Relation
from nms.connectors.postgres.problems import FilterBlind
from tests.unit import pgoutput_bytes as wire
from tests.unit.pgoutput_bytes import KEPT, TEXT, Value

OID = 7
COLUMNS = ("id", "a", "big")
TYPES = dict.fromkeys(COLUMNS, "text")
SHAPE = Shape("public.t", (Column("big", "text", TEXT), Column("id", "text", TEXT)), (1,))
Row = tuple[bytes, bytes, bytes | None]
ids, states = st.sampled_from([b"1", b"2", b"3", b"4"]), st.sampled_from([b"in", b"out"])
bigs = st.sampled_from([None, b"x", b"y"])
steps = st.lists(st.tuples(st.sampled_from(["put", "delete", "move", "truncate"]), ids, ids, states, bigs), max_size=25)


def decoder(where: Sequence[Condition], *, identity: str) -> Decoder:
    """A decoder for t; the column `a` does not travel."""
    filtered = Filter(where, TYPES, text_form=True)

    def layout(relation: Relation) -> Layout | None:
        sieve = filtered.bind("public.t", COLUMNS, ["id"] if identity == "default" else [])
        return Layout(SHAPE, (2, 0), straight=False, sieve=sieve)

    made = Decoder(layout)
    made.learn(wire.relation(OID, "t", [(name, TEXT) for name in COLUMNS]))
    return made


def told(old: Row, new: Row, identity: str) -> bytes:
    """An update as the log tells it; with whole old rows it leaves out a big value that stays."""
    if identity == "full":
        return wire.update(OID, [*new[:2], KEPT if new[2] == old[2] == b"x" else new[2]], old, b"O")
    return wire.update(OID, new, [old[0], None, None] if new[0] != old[0] else None)


def play(rows: dict[bytes, Row], step: tuple[str, bytes, bytes, bytes, bytes | None], identity: str) -> bytes:
    """One step of a history: changes the rows, gives the payload; empty where nothing happens."""
    kind, key, other, state, big = step
    old, new = rows.get(key), (key, state, big)
    if kind == "truncate":
        rows.clear()
        return wire.truncate([OID])
    if old is None:
        rows[key] = new
        return wire.insert(OID, new)
    del rows[key]
    if kind == "delete":
        return wire.delete(OID, old, b"O") if identity == "full" else wire.delete(OID, [key, None, None])
    target = other if kind == "move" and other not in rows else key
    rows[target] = (target, state, big)
    return told(old, rows[target], identity)


def apply(target: dict[bytes, tuple[Field, ...]], change: Change, *, sure: bool) -> None:
    """Do what a target does, and fail at what it could not do; `sure` says that all updates meet their row."""
    if change.op is Op.TRUNCATE:
        target.clear()
        return
    old = target.pop(change.key if change.old_key is None else change.old_key, None)
    if change.op is Op.DELETE:
        return
    assert change.op is Op.INSERT or old is not None or not (sure or None in change.values)
    target[change.key] = change.values if old is None else overlay(old, change.values)


@pytest.mark.parametrize("identity", ["default", "full", "unknown"])
@pytest.mark.parametrize(
    "where",
    [
        [Condition("a", "eq", ("in",))],
        [Condition("id", "in", ("1", "2"))],
        [Condition("id", "neq", ("3",)), Condition("a", "neq", ("out",))],
        [Condition("big", "not_null"), Condition("a", "eq", ("in",))],
    ],
    ids=["column", "key", "both", "null"],
)
@given(history=steps)
def test_the_target_has_what_the_filter_lets_in(
    where: list[Condition], identity: str, history: list[tuple[str, bytes, bytes, bytes, bytes | None]]
) -> None:
    rows: dict[bytes, Row] = {}
    target: dict[bytes, tuple[Field, ...]] = {}
    made, sieve = decoder(where, identity=identity), Filter(where, TYPES, text_form=True).bind("t", COLUMNS, [])
    for step in history:
        changes: list[Change] = []
        made.decode(play(rows, step, identity), changes)
        for change in changes:
            apply(target, change, sure=identity == "full")
        kept = [row for row in rows.values() if sieve.keeps([frame(field) for field in row])]
        assert target == {frame(row[0]): (frame(row[2]), frame(row[0])) for row in kept}


IN: Sequence[Condition] = [Condition("a", "eq", ("in",))]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (None, [b"1", b"in", KEPT], b"K"),
        (None, [b"1", KEPT, b"x"], b"K"),
        ([b"2", None, None], [b"1", b"in", KEPT], b"K"),
    ],
)
def test_what_the_log_leaves_out_is_never_guessed(old: list[Value] | None, new: list[Value], kind: bytes) -> None:
    with pytest.raises(FilterBlind) as caught:
        decoder(IN, identity="default").decode(wire.update(OID, new, old, kind), [])
    assert caught.value.facts == {"dataset": "public.t"}


def test_a_row_outside_before_and_after_is_no_change() -> None:
    changes: list[Change] = []
    made = decoder(IN, identity="full")
    made.decode(wire.update(OID, [b"1", b"out", KEPT], [b"1", b"other", b"x"], b"O"), changes)
    made.decode(wire.delete(OID, [b"1", b"out", b"x"], b"O"), changes)
    made.decode(wire.insert(OID, [b"1", None, b"x"]), changes)
    assert changes == []
