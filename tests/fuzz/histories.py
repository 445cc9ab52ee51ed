"""Histories that two tables of one source may have, from a seed, and the tables they leave."""

import random
from dataclasses import dataclass, field

from nms.common.change import UNCHANGED, Change, Column, Field, Op, Shape, frame

Row = tuple[Field, ...]
Tables = dict[Shape, dict[bytes, Row]]
COLUMNS = (Column("id", "int"), Column("a", "text"), Column("big", "text"), Column("huge", "text"))
SHAPES = (Shape("public.t", COLUMNS, (0,)), Shape("public.u", COLUMNS, (0,)))
KEYS = tuple(frame(str(number).encode()) for number in range(5))
VALUES = tuple(frame(value) for value in (b"", b"x", b"y", None))


@dataclass
class History:
    """Tables before, the changes, tables after; without barriers (`plain`) a target may be ahead of the start."""

    before: Tables
    changes: list[Change]
    after: Tables
    plain: bool
    between: list[Tables] = field(default_factory=list)


def write_history(rand: random.Random) -> History:
    """One history of up to forty changes."""
    before: Tables = {shape: {key: _row(key, rand) for key in KEYS if rand.random() < 0.5} for shape in SHAPES}
    history = History(before, [], copy(before), plain=rand.random() < 0.3)
    for _ in range(rand.randrange(40)):
        shape = SHAPES[rand.random() < 0.3]
        change = _change(shape, history.after[shape], rand, plain=history.plain)
        history.changes.append(change)
        if history.plain and rand.random() < 0.1:
            history.between.append(copy(history.after))
    return history


def copy(tables: Tables) -> Tables:
    """The same tables, to be changed on their own."""
    return {shape: dict(rows) for shape, rows in tables.items()}


def _change(shape: Shape, rows: dict[bytes, Row], rand: random.Random, *, plain: bool) -> Change:
    key = rand.choice(KEYS)
    old = rows.get(key)
    if not plain and rand.random() < 0.03:
        rows.clear()
        return Change(shape, Op.TRUNCATE, b"")
    if old is None:
        rows[key] = _row(key, rand)
        return Change(shape, Op.INSERT, key, rows[key])
    if rand.random() < 0.3:
        del rows[key]
        return Change(shape, Op.DELETE, key)
    to = rand.choice(KEYS)
    moves = not plain and to not in rows and rand.random() < 0.3
    new, sent = _updated(old, to if moves else key, rand)
    del rows[key]
    rows[to if moves else key] = new
    return Change(shape, Op.UPDATE, to if moves else key, sent, key if moves else None)


def _row(key: bytes, rand: random.Random) -> Row:
    return (key, rand.choice(VALUES), rand.choice(VALUES), rand.choice(VALUES))


def _updated(old: Row, key: bytes, rand: random.Random) -> tuple[Row, Row]:
    """The row after an update, and what is sent of it: big values only where they were written."""
    new: list[Field] = [key, rand.choice(VALUES)]
    sent = list(new)
    for value in old[2:]:
        if rand.random() < 0.5:
            new.append(value)
            sent.append(UNCHANGED)
        else:
            new.append(rand.choice(VALUES))
            sent.append(new[-1])
    return tuple(new), tuple(sent)
