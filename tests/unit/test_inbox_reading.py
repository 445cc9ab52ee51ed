"""Events of the inbox read as changes, and the places that they are read from."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from nms.common.change import NULL, Change, Column, Op, Shape, unframe
from nms.common.document import InboxResource, InboxSystem
from nms.common.flow import FeedSpec
from nms.common.messages import MessageUnreadable
from nms.common.problem import Problem
from nms.connectors.inbox.harvest import harvest
from nms.connectors.inbox.place import Mark, Place, Sight, judge, read_place, write_place
from nms.connectors.inbox.reading import Event, Reader
from nms.connectors.inbox.source import parents_first

AT = datetime(2026, 11, 22, 1, 2, 3, 456789, UTC)
ID = UUID("01a20117-9865-70d7-8e57-6d1c76333f8e")
KINDS = {"id": "bigint", "name": "text", "total": "numeric", "more": "jsonb", "user.mail": "text"}
OURS = {"specversion": "1.0", "id": "x", "source": "/nms", "type": "nms.change.delete",
        "data": {"op": "delete", "key": {"id": 3}}}  # fmt: skip
OTHERS: dict[str, Any] = {"specversion": "1.0", "id": "x", "source": "/crm", "type": "made", "data": {"it": {"id": 4}}}


def event(body: Any, **parts: Any) -> Event:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = {"number": 5, "id": ID, "endpoint": "shop", "type": "push", "item": 2, "content_type": "application/json",
             "headers": b"X-Shop: one\nx-shop: two", "received_at": AT}  # fmt: skip
    return Event(**{**known, **parts}, body=raw)


def reader(*names: str, heals: bool = True, **resource: Any) -> Reader:
    columns = tuple(Column(name, KINDS.get(name, "text")) for name in (*KINDS, *names))
    return Reader(InboxResource(endpoint="shop", **resource), Shape("things", columns, (0,)), heals=heals)


def shown(change: Change) -> dict[str, str | None]:
    pairs = zip(change.shape.columns, change.values, strict=True)
    told = {column.name: field for column, field in pairs if field is not None}
    return {name: None if field == NULL else (unframe(field) or b"").decode() for name, field in told.items()}


def read(made: Reader, body: Any, **parts: Any) -> list[dict[str, str | None]]:
    return [shown(change) for change in made.read(event(body, **parts))]


def test_a_record_has_its_digits_its_deeper_fields_and_what_is_derived_of_it() -> None:
    made = reader(records="data.it", derive={"name": "join(' ', names)", "more": "total > `1`"})
    record = b'{"id": 1, "total": 1.500000000000000000000000000001, "names": ["a", "b"], "user": {"mail": "m"}}'
    body = b'{"data": {"it": ' + record + b"}}"
    assert read(made, body) == [
        {"id": "1", "total": "1.500000000000000000000000000001", "name": "a b", "more": "true", "user.mail": "m"}
    ]
    assert read(made, {"data": None}) == read(made, [1]) == read(made, {"data": {"it": []}}) == []


def test_what_a_record_lacks_stays_or_becomes_null_as_the_resource_says() -> None:
    assert read(reader(derive={"name": "nowhere"}), {"id": 1}) == [{"id": "1"}]
    assert read(reader(absent="null"), {"id": 1, "user": {"mail": "m"}}) == [
        {"id": "1", "name": None, "total": None, "more": None, "user.mail": "m"}
    ]


def test_a_list_is_records_in_order_and_the_event_has_facts_of_its_own() -> None:
    names = ("$event.id", "$event.type", "$event.item", "$event.endpoint", "$event.received_at", "$event.header.x-shop")
    facts = (str(ID), "push", "2", "shop", "2026-11-22T01:02:03.456789+00:00", "one, two")
    wanted = dict(zip(names, facts, strict=True))
    assert read(reader(*names), [{"id": 1, "$event.id": "forged"}, {"id": 2}]) == [
        {"id": "1", **wanted}, {"id": "2", **wanted},
    ]  # fmt: skip
    assert read(reader("$event.header.x-other"), {"id": 1}) == [{"id": "1"}]


@pytest.mark.parametrize(
    ("deleted", "body", "kind", "op"),
    [
        ("gone", {"id": 1, "gone": True}, "push", Op.DELETE),
        ("gone", {"id": 1, "gone": False}, "push", Op.INSERT),
        ("gone", {"id": 1, "gone": None}, "push", Op.INSERT),
        ("gone", {"id": 1}, "push", Op.INSERT),
        ("gone == `1`", {"id": 1, "gone": 1}, "push", Op.DELETE),
        ("gone == `1`", {"id": 1, "gone": 0}, "push", Op.INSERT),
        ("version > `3`", {"id": 1, "version": 4}, "push", Op.DELETE),
        ("version > `3`", {"id": 1, "version": 3}, "push", Op.INSERT),
        (["removed"], {"id": 1}, "removed", Op.DELETE),
        (["removed"], {"id": 1}, "push", Op.INSERT),
    ],
)
def test_a_record_is_deleted_by_a_condition_or_by_the_type_of_its_event(
    deleted: Any, body: Any, kind: str, op: Op
) -> None:
    (change,) = reader(deleted=deleted).read(event(body, type=kind))
    assert change.op is op


@pytest.mark.parametrize("gone", [0, 1, 1.5, "", "no", "false", [], [True], {}], ids=repr)
def test_what_is_neither_true_nor_false_deletes_nothing_and_is_held(gone: Any) -> None:
    with pytest.raises(MessageUnreadable, match="neither true, false nor null"):
        reader(deleted="gone").read(event({"id": 1, "gone": gone}))


def test_cloud_events_are_what_they_are_everywhere_else_where_the_resource_says_so() -> None:
    (change,) = reader(format="nms").read(event(OURS))
    assert (change.op, change.key[4:]) == (Op.DELETE, b"3")
    (plain,) = read(reader(format="nms"), {"id": 5})
    assert plain == {"id": "5"}
    assert read(reader(records="it"), OTHERS) == [{"id": "4"}]


@pytest.mark.parametrize("kind", [{}, {"datacontenttype": "application/vnd.crm+json; charset=utf-8"}])
def test_data_of_a_cloud_event_may_be_base64(kind: dict[str, str]) -> None:
    envelope = {name: value for name, value in OTHERS.items() if name != "data"} | kind
    data = b64encode(b'{"it": {"id": 4, "total": 1.10}}').decode()
    assert read(reader(records="it"), {**envelope, "data_base64": data}) == [{"id": "4", "total": "1.10"}]
    strange: list[dict[str, Any]] = [{"data_base64": "no"}, {"data_base64": 5}, {"data_base64": ""},
               {"data_base64": "\u00e9"}, {"data_base64": data, "datacontenttype": "image/png"}]  # fmt: skip
    for more in strange:
        with pytest.raises(MessageUnreadable):
            reader(records="it").read(event({**envelope, **more}))


@pytest.mark.parametrize("data", [OURS["data"], {"op": "truncate"}, {"op": "t"}])
def test_nobody_deletes_or_empties_by_the_form_of_an_event_of_another_nms(data: Any) -> None:
    body = {**OURS, "type": "nms.change.truncate", "data": data}
    with pytest.raises(MessageUnreadable):
        reader().read(event(body))
    with pytest.raises(MessageUnreadable):
        Reader(InboxResource.model_construct(endpoint="shop"), reader().shape).read(event(body))
    assert read(reader(), {**body, "data": {**data, "id": 1}}) == [{"id": "1"}]


def test_a_form_is_an_object_of_its_parameters() -> None:
    form = "application/x-www-form-urlencoded; charset=utf-8"
    made = reader(derive={"name": "data.name || join('+', tag)"})
    assert read(made, b"id=7&tag=a&tag=b%20c&total=", content_type=form) == [{"id": "7", "name": "a+b c", "total": ""}]
    for body in (b"a=%ff", b"x", b"&".join(b"a=1" for _ in range(10_001))):
        with pytest.raises(MessageUnreadable):
            made.read(event(body, content_type=form))


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"\xff", b"[1]", b'"x"', {"name": "x"}, {"id": None}, b'{"id": 1, "id": 1}', b'{"id": NaN}',
     b"[" * 200, b'{"id": 1, "name": "\\ud800"}', b'{"id": 1, "name": "\\u0000"}', {"id": [1]},
     b'{"id": ' + b"9" * 5_000 + b"}"],
)  # fmt: skip
def test_what_cannot_be_read_is_told_and_held_so_that_it_can_be_read_later(body: Any) -> None:
    with pytest.raises(MessageUnreadable):
        reader().read(event(body))
    one = event(body)
    mended = reader("$event.id", "$event.header.x-shop", records="id || `null`")
    with pytest.raises(MessageUnreadable):
        reader().read_held(mended.hold(one))
    told = json.loads(mended.hold(event({"id": 1})).partition(b"\n")[0].removeprefix(b"inbox-event: "))
    assert told["headers"] == {"x-shop": "one, two"}


def test_a_held_event_is_read_with_its_own_facts() -> None:
    names = ("$event.id", "$event.received_at", "$event.header.x-shop")
    made = reader(*names)
    assert [shown(one) for one in made.read_held(made.hold(event({"id": 1})))] == read(made, {"id": 1})


@pytest.mark.parametrize("expression", ["ceil(id)", "sum([id, id])", "sort_by(@, &id)", "avg([id, `1`])"])
def test_no_number_of_a_sender_ends_the_reading(expression: str) -> None:
    for number in (b"1e999", b"-1e999", b"9" * 400):
        made = reader(derive={"more": expression}, deleted=f"{expression} > `3`")
        assert len(made.read(event(b'{"id": ' + number + b"}"))) == 1


def test_a_pipeline_that_makes_no_rows_gets_updates() -> None:
    (change,) = reader(heals=False).read(event({"id": 1}))
    assert change.op is Op.UPDATE


def test_an_event_is_taken_by_its_endpoint_and_type() -> None:
    made = reader(types=["push", "pull"])
    assert [made.takes(event({}, type=kind)) for kind in ("push", "pull", "other", "")] == [True, True, False, False]
    assert not made.takes(event({}, endpoint="other"))
    assert reader().takes(event({}, type=""))


def test_what_comes_by_and_finds_no_record_is_counted() -> None:
    readers = {"right": reader(records="it"), "typo": reader(records="ti"), "kind": reader(types=["pusch"])}
    events = [event({"it": {"id": 1}}), event({"it": {}}), event({}), event({"it": {"id": 2}}, endpoint="other")]
    found = harvest(readers, events, 100)
    assert found.seen == {"right": 3, "typo": 3, "kind": 3}
    assert (found.met["right"], found.met["typo"], found.met["kind"]) == (2, 0, 0)
    assert (len(found.changes), len(found.poison), found.rest) == (1, 1, [])


def test_datasets_come_behind_those_they_refer_to() -> None:
    shapes = {name: Shape(name, (), ()) for name in ("c", "b", "a", "x")}
    spec = FeedSpec("p", 1, {}, shapes, above={"c": {"b"}, "b": {"a"}})
    assert [name for name, _ in parents_first(spec)] == ["a", "b", "c", "x"]
    circle = FeedSpec("p", 1, {}, shapes, above={"c": {"b"}, "b": {"c"}})
    assert sorted(name for name, _ in parents_first(circle)) == ["a", "b", "c", "x"]


def test_a_place_is_kept_as_json_and_found_again() -> None:
    place = Place(9, Mark(7, ID, AT))
    assert read_place(json.loads(json.dumps(write_place(place)))) == place
    assert read_place(write_place(Place(3))) == Place(3)
    assert read_place({"generation": 2, "place": 4}) is None
    assert place.passed(8, Mark(5, ID, AT)) == place


@pytest.mark.parametrize(
    ("sight", "code"),
    [
        (Sight(newest=9, found=7, lost=0, aged=0), None),
        (Sight(newest=30, found=None, lost=0, aged=7), None),
        (Sight(newest=30, found=7, lost=9, aged=20), None),
        (Sight(newest=8, found=7, lost=0, aged=0), "inbox-restored"),
        (Sight(newest=30, found=None, lost=0, aged=6), "inbox-restored"),
        (Sight(newest=30, found=8, lost=0, aged=9), "inbox-restored"),
        (Sight(newest=30, found=None, lost=10, aged=20), "events-dropped"),
    ],
)
def test_a_place_that_events_would_be_passed_by_at_is_told(sight: Sight, code: str | None) -> None:
    told = None
    try:
        judge(Place(9, Mark(7, ID, AT)), sight)
    except Problem as problem:
        told = problem.code
    assert told == code


@pytest.mark.parametrize(
    "resource",
    [
        {"deleted": []}, {"deleted": 5}, {"deleted": "a ||"}, {"deleted": [""]}, {"types": ["a"], "deleted": ["b"]},
        {"key": ["id", "id"]}, {"derive": {"$event.id": "id"}}, {"records": "nofunction(@)"}, {"endpoint": "Shop"},
        {"format": "cloudevents"}, {"format": "nms", "records": "data"},
    ],
)  # fmt: skip
def test_a_resource_that_means_nothing_is_refused(resource: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InboxSystem.model_validate(
            {"kind": "system", "name": "hooks", "type": "inbox", "resources": {"a": {"endpoint": "shop", **resource}}}
        )
