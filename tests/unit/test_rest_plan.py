"""Changes folded to errands: one a record, parents before children, deletes the other way round (pure)."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import Change, Column, Op, Shape, again, frame
from nms.common.cloudevents import Event
from nms.connectors.rest.order import Act, Order, as_uuid
from nms.connectors.rest.plan import Errand, fold, make_errand, phases, segments

PARENT = Shape("public.post", (Column("id", "bigint"), Column("name", "text")), (0,))
CHILD = Shape("public.comment", (Column("id", "bigint"), Column("name", "text")), (0,))
DATASETS = (PARENT.dataset, CHILD.dataset)


def event(op: str, key: int, name: str | None = "n", shape: Shape = PARENT, old: int | None = None) -> Event:
    framed = frame(str(key).encode())
    values = () if op == "delete" else (framed, None if name is None else frame(name.encode()))
    before = None if old is None else frame(str(old).encode())
    change = Change(shape, Op(op), framed, values, before)
    return Event(as_uuid(op, str(key), str(name), str(id(change))), str(key), b"", change)


def acts(*events: Event, copied: bool = False) -> list[tuple[str, dict[str, str]]]:
    return [(one.order.act.value, one.order.values) for one in fold(events, {}, Act.ENSURE if copied else Act.CREATE)]


def test_changes_of_a_record_fold_to_one_errand() -> None:
    assert acts(event("insert", 1, "a"), event("update", 1, "b")) == [("create", {"id": "1", "name": "b"})]
    assert acts(event("update", 1, "a"), event("update", 1, None)) == [("update", {"id": "1", "name": "a"})]
    assert acts(event("insert", 1), event("delete", 1)) == [("delete", {})]


def test_what_came_again_or_is_copied_is_looked_up_first() -> None:
    assert acts(event("delete", 1), event("insert", 1, "b"))[0][0] == "ensure"
    assert acts(event("insert", 1), event("delete", 1), event("insert", 1))[0][0] == "ensure"
    assert acts(event("insert", 1), copied=True)[0][0] == "ensure"


def test_parents_are_written_before_children_and_deleted_behind_them() -> None:
    events = [event("delete", 1), event("insert", 2, shape=CHILD), event("delete", 3, shape=CHILD), event("insert", 4)]
    errands = fold(events, {}, Act.CREATE)
    order = [[one.events[0].subject for one in phase] for phase in phases(errands, DATASETS)]
    assert order == [["4"], ["2"], ["3"], ["1"]]


def test_a_move_is_a_barrier_and_what_is_known_is_left_out() -> None:
    events = [event("update", 1), event("update", 2), event("update", 5, old=1), event("update", 1)]
    cut = [(barrier, [one.subject for one in group]) for barrier, group in segments(events, {events[1].id})]
    assert cut == [(False, ["1"]), (True, ["5"]), (False, ["1"])]
    moved = make_errand([events[2]], events[2].change, {PARENT.dataset: {"id": "reference"}})
    assert (moved.order.act, moved.order.old, moved.linked) == (Act.MOVE, {"reference": "1"}, '{"id":1}')
    assert Order.of(moved.order.plan()).linked == moved.linked


def test_a_record_that_comes_back_with_some_of_its_fields_is_deleted_first() -> None:
    events = [event("insert", 2), event("delete", 1), event("insert", 1, None), event("delete", 2), event("insert", 2)]
    cut = [[one.subject for one in group] for _, group in segments(events, ())]
    assert cut == [["2", "1"], ["1", "2", "2"]]


def test_a_change_that_is_made_again_leaves_nothing_out_that_was_written_before() -> None:
    once = event("insert", 1).change
    (errand,) = fold([event("insert", 1), Event("an-id", "1", b"", again(once))], {}, Act.FOLLOW)
    assert errand.order.again
    assert Order.of(errand.order.plan()).again
    assert not Order.of(Order(Act.DELETE, {"id": "1"}, {}).plan()).again


def test_the_ledger_hears_of_each_change_and_what_it_is_folded_into() -> None:
    events = [event("insert", 1, "a"), event("update", 1, "b"), event("update", 1, "c")]
    (errand,) = fold(events, {PARENT.dataset: {"name": "title"}}, Act.CREATE)
    captured = list(errand.captured(1.0))
    assert [one.identity for one in captured] == [one.id for one in events]
    assert [one.into for one in captured] == [events[2].id, events[2].id, None]
    found = Order.of(captured[-1].plan or "")
    assert (found.act, found.values, found.doubtful) == (Act.CREATE, {"id": "1", "title": "c"}, True)
    assert found.plan() == captured[-1].plan


OPS = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "delete"]), st.integers(1, 3), st.text("abc", max_size=2))
)


def replay(steps: Sequence[tuple[str, int, str]]) -> list[Event]:
    """A history that a table could have: inserts of what is not there, updates and deletes of what is."""
    there: set[int] = set()
    made = []
    for op, key, name in steps:
        real = op if (key in there) == (op != "insert") else "update" if key in there else "insert"
        there = there - {key} if real == "delete" else there | {key}
        made.append(event(real, key, name))
    return made


@given(OPS)
def test_whatever_happened_the_last_state_is_what_is_sent(steps: list[tuple[str, int, str]]) -> None:
    events = replay(steps)
    errands: dict[str, Errand] = {one.events[0].subject: one for one in fold(events, {}, Act.CREATE)}
    last = {one.subject: one for one in events}
    assert errands.keys() == last.keys()
    assert sum(len(one.events) for one in errands.values()) == len(events)
    for key, newest in last.items():
        assert (errands[key].order.act is Act.DELETE) == (newest.change.op is Op.DELETE)
        if newest.change.op is not Op.DELETE:
            assert errands[key].order.values["name"] == (newest.change.values[1] or b"")[4:].decode()
