"""Where a poll stands: what an overlap asks again, when everything is read anew (pure)."""

from typing import Any

import pytest

from nms.common.change import Column, Shape
from nms.connectors.postgres.poll.place import REACH, Horizon, Polled, find_cause, position_of, restore
from nms.connectors.postgres.snapshot import Dataset
from nms.connectors.postgres.statements import TargetTable

NOW = Horizon("1000:1010:1003")
PLACE = {"generation": 1, "server": "7/1", "place": 4}


def polled(**parts: Any) -> Polled:
    shape = Shape("public.t", (Column("id", "integer", 23),), (0,))
    table = TargetTable('"public"."t"', ("id",), ("integer",), (0,), False, "")
    return Polled(Dataset("public.t", shape, table, True, 0, 0), 16384, **parts)


def test_the_window_of_a_guessed_cursor_reaches_back_by_its_overlap() -> None:
    one = polled(by="value", overlap=10.0)
    bounds = []
    for second in range(0, 40, 2):
        one.note_value(float(second), str(second))
        bounds.append(one.bound)
    assert bounds[:5] == [None] * 5, "before the overlap is known rows are scanned"
    assert all(
        second - 12 <= int(bound or -1) <= second - 10
        for second, bound in zip(range(10, 40, 2), bounds[5:], strict=True)
    )
    assert len(one.seen) < 12


def test_the_window_reaches_back_from_the_last_round_however_long_ago_it_was() -> None:
    one = polled(by="value", overlap=10.0)
    for second in (0, 5, 12):
        one.note_value(float(second), str(second))
    again = polled(by="value", overlap=10.0)
    restore(position_of(PLACE, NOW, [one]), [again])
    assert again.bound == "0"


def test_a_table_without_values_changes_nothing() -> None:
    one = polled(by="value")
    one.note_value(5.0, None)
    assert (one.seen, one.bound) == ([], None)


def test_a_position_restores_what_it_was_made_of() -> None:
    one, again = polled(members=frozenset({5, 6}), lacking=True), polled()
    one.dataset.after, one.dataset.rows, one.sweep = ("7",), 7, True
    restore(position_of(PLACE, NOW, [one]), [again])
    assert (again.members, again.lacking, again.sweep) == (frozenset({5, 6}), True, True)
    assert (again.dataset.after, again.dataset.rows, again.dataset.started, again.dataset.done) == (
        ("7",),
        7,
        True,
        False,
    )


def test_a_table_that_a_position_does_not_name_is_copied() -> None:
    done, new = polled(), polled()
    done.dataset.done, new.dataset.name = True, "public.new"
    restore(position_of(PLACE, NOW, [done]), [done, new])
    assert (done.dataset.done, new.dataset.done, new.dataset.started) == (True, False, False)


@pytest.mark.parametrize(
    ("stand", "parts", "told"),
    [
        (("7/1", NOW), {}, None),
        (("8/1", NOW), {}, "server"),
        (("7/2", NOW), {}, "server"),
        (("7/1", Horizon("900:905:")), {}, "back in time"),
        (("7/1", Horizon(f"{REACH + 1000}:{REACH + 1000}:")), {}, "transactions"),
        (("7/1", Horizon(f"{REACH + 1000}:{REACH + 1000}:")), {"by": "value"}, "transactions"),
        (("7/1", Horizon(f"{REACH + 1000}:{REACH + 1000}:")), {"by": "column"}, None),
        (("7/1", Horizon(f"{REACH + 999}:{REACH + 999}:")), {}, None),
        (("7/1", NOW), {"by": "log", "mark": "1,2"}, "noted"),
        (("7/1", NOW), {"by": "log", "kept": 1000}, None),
        (("7/1", NOW), {"by": "log", "kept": 1001}, "noted"),
    ],
)
def test_everything_is_read_anew_only_when_it_must_be(
    stand: tuple[str, Horizon], parts: dict[str, Any], told: str | None
) -> None:
    one = polled()
    one.dataset.done = True
    position = position_of(PLACE, NOW, [one])
    now = polled(**parts)
    cause = find_cause(position, stand, [now])
    assert (told in cause) if told is not None and cause is not None else cause is told
    assert find_cause(None, stand, [now]) is not None
    assert find_cause({"generation": 1, "lsn": "0/1"}, stand, [now]) is not None


def test_a_table_made_anew_is_read_anew() -> None:
    position = position_of(PLACE, NOW, [polled()])
    position["ways"]["public.t"]["oid"] = 99999
    assert "another table" in (find_cause(position, ("7/1", NOW), [polled()]) or "")
