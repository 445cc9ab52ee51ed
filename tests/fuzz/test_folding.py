"""Folded and staged, a history leaves the tables that its changes leave one by one."""

import random
from collections.abc import Callable, Sequence

import pytest

from nms.common import change as folding
from nms.common.change import UNCHANGED, Change, Op, Shape, overlay
from nms.common.rows import HEADER, TRAILER, read_rows
from nms.connectors.postgres import statements
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.writer import Writer
from tests.fuzz.extent import Extent
from tests.fuzz.histories import COLUMNS, SHAPES, Tables, copy, write_history

NAMES = tuple(column.name for column in COLUMNS)
TYPES = tuple(column.type for column in COLUMNS)


def writers(*, heals: bool) -> dict[Shape, Writer]:
    """What stages the changes of each table."""
    table = TargetTable('"t"', NAMES, TYPES, (0,), False, "stage")
    return {shape: Writer(at, shape, table, [25] * 4, heals=heals) for at, shape in enumerate(SHAPES)}


def apply_one(tables: Tables, change: Change, *, heals: bool) -> None:
    """What the statements of one change do."""
    rows = tables[change.shape]
    if change.op is Op.TRUNCATE:
        rows.clear()
        return
    old = rows.pop(change.key if change.old_key is None else change.old_key, None)
    if change.op is Op.DELETE:
        return
    whole = UNCHANGED not in change.values and (heals or change.op is Op.INSERT)
    if old is not None:
        rows[change.key] = overlay(old, change.values)
    elif whole:
        rows.setdefault(change.key, change.values)


def apply_staged(tables: Tables, writer: Writer, folded: Sequence[Change]) -> None:
    """What the statements over staged rows do; a key staged twice would be refused by the server."""
    rows = tables[writer.shape]
    staged = list(read_rows([HEADER, *writer.stage_rows(folded)[0], TRAILER]))
    assert len({row[1] for row in staged}) == len(staged), "a key is staged twice"
    masks = {op: mask for mask, op in writer._partials.items()}
    for head, *values in staged:
        op, key = int.from_bytes(head[4:], "big"), values[0]
        if op == statements.DELETE_OP:
            rows.pop(key, None)
            continue
        if op == statements.UPSERT_OP:
            rows[key] = tuple(values)
            continue
        inserts, present = masks[op]
        assert not inserts, "a table's own changes insert whole rows only"
        if key in rows:
            rows[key] = tuple(new if at in present else rows[key][at] for at, new in enumerate(values))


def apply_folded(tables: Tables, changes: Sequence[Change], rand: random.Random, *, heals: bool) -> None:
    """What a target does with parts of a history: folded where it may, one by one where it must."""
    made = writers(heals=heals)
    at = 0
    while at < len(changes):
        part = changes[at : at + rand.choice((1, 5, 40))]
        at += len(part)
        for barrier, segment in folding.segments(part):
            if barrier or rand.random() < 0.1:
                for change in segment:
                    apply_one(tables, change, heals=heals)
                continue
            for shape, writer in made.items():
                apply_staged(tables, writer, folding.compact(one for one in segment if one.shape is shape))


def check_folding(count: int, seed: int) -> int:
    """Fold histories and compare with what they leave; gives the number of changes."""
    changes = 0
    for number in range(count):
        rand = random.Random(seed * 1_000_000_000 + number)
        history = write_history(rand)
        heals = rand.random() < 0.7
        single, folded = copy(history.before), copy(history.before)
        for change in history.changes:
            apply_one(single, change, heals=heals)
        assert single == history.after, f"one by one: history {number} of seed {seed}"
        apply_folded(folded, history.changes, rand, heals=heals)
        assert folded == history.after, f"folded: history {number} of seed {seed}"
        if history.between:
            ahead = copy(rand.choice(history.between))
            apply_folded(ahead, history.changes, rand, heals=True)
            assert ahead == history.after, f"with a target ahead: history {number} of seed {seed}"
        changes += len(history.changes)
    return changes


@pytest.mark.fuzz
def test_a_folded_history_leaves_the_tables_that_its_single_changes_leave(extent: Extent) -> None:
    count = extent.choose(2_000, 100_000)
    with extent.telling(f"folding: {count:,} histories"):
        assert check_folding(count, 1) > 10 * count


def planted(rule: Callable[[Change, Change], Change | None]) -> Callable[[Change, Change], Change]:
    """A way to fold that follows a rule where the rule says anything."""
    right = Change.then
    return lambda earlier, later: rule(earlier, later) or right(earlier, later)


def loses_the_new_row(earlier: Change, later: Change) -> Change | None:
    return earlier if (earlier.op, later.op) == (Op.DELETE, Op.INSERT) else None


def keeps_the_older(earlier: Change, later: Change) -> Change | None:
    return earlier if earlier.op is later.op is Op.UPDATE else None


def loses_columns_of_an_insert(earlier: Change, later: Change) -> Change | None:
    return later if earlier.op is Op.INSERT and later.op is Op.UPDATE and later.partial else None


def loses_columns_of_an_update(earlier: Change, later: Change) -> Change | None:
    return later if earlier.op is later.op is Op.UPDATE and later.partial else None


def revives_a_deleted_row(earlier: Change, later: Change) -> Change | None:
    return earlier if later.op is Op.DELETE else None


PLANTS = (
    loses_the_new_row, keeps_the_older, loses_columns_of_an_insert, loses_columns_of_an_update, revives_a_deleted_row,
)  # fmt: skip


@pytest.mark.parametrize("rule", PLANTS, ids=lambda rule: rule.__name__)
def test_a_wrong_fold_is_caught(
    rule: Callable[[Change, Change], Change | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Change, "then", planted(rule))
    with pytest.raises(AssertionError, match=r"^(folded|with a target ahead)"):
        check_folding(1_000, 1)


def test_folding_across_a_barrier_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "segments", lambda changes: [(False, [one for one in changes if not one.barrier])])
    with pytest.raises(AssertionError, match=r"^folded"):
        check_folding(1_000, 1)


def test_an_insert_and_its_delete_folded_to_nothing_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = folding.compact

    def forgetful(changes: Sequence[Change]) -> list[Change]:
        made = list(changes)
        born = {one.key for one in made if one.op is Op.INSERT}
        return [one for one in right(made) if one.op is not Op.DELETE or one.key not in born]

    monkeypatch.setattr(folding, "compact", forgetful)
    with pytest.raises(AssertionError, match=r"^(folded|with a target ahead)"):
        check_folding(1_000, 1)
