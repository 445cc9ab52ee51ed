"""Staged rows and single statements carry the same values; the key is written only where it changes."""

from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import NULL, Change, Column, Op, Shape, frame
from nms.common.rows import HEADER, TRAILER, read_rows
from nms.connectors.postgres import statements
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.writer import Writer

SHAPE = Shape("public.t", (Column("a", "text"), Column("k", "int"), Column("b", "text")), (1,))
TABLE = TargetTable('"t"', ("a", "k", "b"), ("text", "int", "text"), (1,), False, "stage")
fields = st.one_of(st.none(), st.binary(max_size=20)).map(frame)
partial = st.one_of(st.none(), fields)


def writer(*, heals: bool = True) -> Writer:
    return Writer(0, SHAPE, TABLE, [25, 23, 25], heals=heals)


def change(op: Op, key: bytes, a: bytes | None = None, b: bytes | None = None, old: bytes | None = None) -> Change:
    return Change(SHAPE, op, frame(key), () if op is Op.DELETE else (a, frame(key), b), old)


def raw(field: bytes | None) -> bytes | None:
    return None if field is None or field == NULL else field[4:]


@given(
    st.lists(
        st.tuples(st.sampled_from([Op.INSERT, Op.UPDATE, Op.DELETE]), st.binary(min_size=1, max_size=4), fields, fields)
    )
)
def test_staged_rows_carry_op_and_values(made: list[tuple[Op, bytes, bytes, bytes]]) -> None:
    changes = [change(op, key, a, b) for op, key, a, b in made]
    rows, ops = writer().stage_rows(changes)
    read = list(read_rows([HEADER, *rows, TRAILER]))
    assert {int.from_bytes(row[0][4:], "big") for row in read} == ops
    for one, row in zip(changes, read, strict=True):
        assert row[2] == one.key
        assert row[1:] == (one.values if one.values else (NULL, one.key, NULL))


@given(st.binary(min_size=1), partial, partial)
def test_an_update_writes_the_values_that_were_sent_and_no_key(key: bytes, a: bytes | None, b: bytes | None) -> None:
    sent = [raw(value) for value in (a, b) if value is not None]
    commands = writer(heals=False).commands(change(Op.UPDATE, key, a, b))
    assert [command.params for command in commands] == ([[*sent, key]] if sent else [])
    assert all('set "k"' not in command.statement.sql for command in commands)


@given(st.binary(min_size=1), st.binary(min_size=1), partial)
def test_a_move_goes_from_the_old_key_to_the_new(old: bytes, new: bytes, b: bytes | None) -> None:
    moved, *healed = writer().commands(change(Op.UPDATE, new, frame(b"a"), b, old=frame(old)))
    assert moved.params[-1] == old
    assert new in moved.params[:-1]
    assert bool(healed) is (b is not None)


def test_statements_are_named_once_and_never_shared_between_kinds() -> None:
    made = writer()
    changes = [change(Op.INSERT, b"1", NULL, NULL), change(Op.DELETE, b"1"), change(Op.UPDATE, b"1", NULL, None)]
    first = [made.commands(one)[0].statement for one in changes]
    again = [made.commands(one)[0].statement for one in changes]
    assert first == again
    assert len({statement.name for statement in first}) == 3


def test_deletes_go_before_writes() -> None:
    made = writer()
    _, ops = made.stage_rows(
        [change(Op.UPDATE, b"1", None, NULL), change(Op.DELETE, b"2"), change(Op.INSERT, b"3", NULL, NULL)]
    )
    deletes, writes = made.stage_statements(ops)
    assert deletes == [statements.delete_staged(TABLE)]
    assert len(writes) == 2
    assert writes[-1] == statements.insert_staged(TABLE)
