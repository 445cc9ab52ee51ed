"""Bytes of the log become the changes that were made, whatever the order of columns and the form of a tuple."""

from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import NULL, Change, Column, Op, Shape, frame
from nms.connectors.postgres import pgoutput
from nms.connectors.postgres.pgoutput import Decoder, Layout, Relation, Sent
from tests.unit import pgoutput_bytes as wire
from tests.unit.pgoutput_bytes import INT4, KEPT, TEXT, Value

SHAPE = Shape("public.t", (Column("id", "int", INT4), Column("a", "text", TEXT), Column("big", "text", TEXT)), (0,))
OID = 77
OLD = (b"old", None, None)
values = st.one_of(st.none(), st.binary(max_size=30))
keys = st.binary(min_size=1, max_size=8)


def decoder(*, picks: tuple[int, ...] = (0, 1, 2)) -> Decoder:
    """A decoder for the table t that leaves out every other table."""

    def layout(relation: Relation) -> Layout | None:
        return Layout(SHAPE, picks, picks == tuple(range(len(relation.columns)))) if relation.name == "t" else None

    made = Decoder(layout)
    made.learn(wire.relation(OID, "t", [("id", INT4), ("a", TEXT), ("big", TEXT)]))
    made.learn(wire.relation(OID + 1, "other", [("x", INT4)]))
    return made


def decode(payload: bytes, **options: tuple[int, ...]) -> list[Change]:
    changes: list[Change] = []
    decoder(**options).decode(payload, changes)
    return changes


def framed(value: Value) -> bytes | None:
    return None if isinstance(value, str) else frame(value)


@given(keys, values, values)
def test_an_insert_gives_the_whole_row(key: bytes, a: bytes | None, big: bytes | None) -> None:
    (change,) = decode(wire.insert(OID, [key, a, big]))
    assert (change.op, change.key, change.values) == (Op.INSERT, frame(key), (frame(key), frame(a), frame(big)))
    assert change.old_key is None


@given(keys, values)
def test_a_value_that_was_not_sent_again_is_neither_null_nor_a_value(key: bytes, a: bytes | None) -> None:
    (change,) = decode(wire.update(OID, [key, a, KEPT]))
    assert change.values == (frame(key), frame(a), None)
    assert change.partial


@given(keys, keys, values, st.sampled_from([KEPT, b"sent", None]))
def test_an_update_that_names_the_old_key_is_a_move_only_where_the_key_differs(
    old: bytes, new: bytes, a: bytes | None, big: Value
) -> None:
    (change,) = decode(wire.update(OID, [new, a, big], old=[old, None, None]))
    assert (change.key, change.old_key) == (frame(new), None if old == new else frame(old))
    assert change.values == (frame(new), frame(a), framed(big))


@given(keys, keys, values)
def test_an_update_with_the_whole_old_row_leaves_nothing_out(old: bytes, new: bytes, a: bytes | None) -> None:
    (change,) = decode(wire.update(OID, [new, a, KEPT], old=[old, b"before", b"the big one"], kind=b"O"))
    assert change.values == (frame(new), frame(a), frame(b"the big one"))
    assert change.old_key == (None if old == new else frame(old))


@given(keys, st.sampled_from([b"K", b"O"]))
def test_a_delete_gives_the_key(key: bytes, kind: bytes) -> None:
    (change,) = decode(wire.delete(OID, [key, None, b"x"], kind))
    assert (change.op, change.key) == (Op.DELETE, frame(key))


def test_a_truncate_gives_one_change_for_each_table_that_is_followed() -> None:
    assert [change.op for change in decode(wire.truncate([OID + 1, OID, OID]))] == [Op.TRUNCATE, Op.TRUNCATE]


def test_tables_that_are_not_followed_give_nothing() -> None:
    assert decode(wire.insert(OID + 1, [b"1"])) == []


@given(keys, values)
def test_columns_are_found_whatever_their_order(key: bytes, a: bytes | None) -> None:
    made = Decoder(lambda relation: Layout(SHAPE, (3, 0, 1), straight=False))
    made.learn(wire.relation(OID, "t", [("a", TEXT), ("big", TEXT), ("new", INT4), ("id", INT4)]))
    changes: list[Change] = []
    made.decode(wire.insert(OID, [a, None, b"new", key]), changes)
    assert changes[0].values == (frame(key), frame(a), NULL)


@given(keys, values, st.integers(0, 2**32 - 1))
def test_a_streamed_change_is_the_same_behind_its_transaction(key: bytes, a: bytes | None, xid: int) -> None:
    for plain, streamed in (
        (wire.insert(OID, [key, a, a]), wire.insert(OID, [key, a, a], xid)),
        (wire.update(OID, [key, a, KEPT], OLD), wire.update(OID, [key, a, KEPT], OLD, xid=xid)),
        (wire.delete(OID, [key, None, None]), wire.delete(OID, [key, None, None], xid=xid)),
        (wire.truncate([OID]), wire.truncate([OID], xid)),
    ):  # fmt: skip
        left = decode(plain)
        right: list[Change] = []
        decoder().decode(streamed, right, streamed=True)
        assert [(c.op, c.key, c.values, c.old_key) for c in left] == [(c.op, c.key, c.values, c.old_key) for c in right]
        assert pgoutput.parse_xid(streamed) == xid


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), st.binary(max_size=50))
def test_a_message_is_read_whole(prefix: str, content: bytes) -> None:
    read = pgoutput.parse_message(wire.message(prefix, content))
    assert (read.prefix, read.content) == (prefix, content)


def test_a_relation_is_read_with_its_columns_in_order() -> None:
    read = pgoutput.parse_relation(wire.relation(OID, 'Ünï "t"', [("a b", INT4), ("c", TEXT)], 9), 5)
    assert read == Relation(OID, "public", 'Ünï "t"', (Sent("a b", INT4, key=True), Sent("c", TEXT)))


def test_what_a_fork_learns_its_origin_does_not_know() -> None:
    origin = decoder()
    fork = origin.fork()
    fork.learn(wire.relation(OID, "gone", [("x", INT4)]))
    changes: list[Change] = []
    fork.decode(wire.insert(OID, [b"1"]), changes)
    assert changes == []
    origin.decode(wire.insert(OID, [b"1", b"a", b"b"]), changes)
    assert len(changes) == 1
