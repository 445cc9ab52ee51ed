"""Documents of entities: what they say, and what they may not."""

import json
from typing import Any

import pytest

from nms.cfg.consistency import find_faults
from nms.cfg.difference import compare_bodies
from nms.cfg.effect import tell_effects
from nms.common.document import EntityDocument, normal_form, parse_document, short_form
from nms.common.document.entity import OWN_PATHS, SYSTEM_COLUMNS
from nms.common.problem import Malformed

POSTS: dict[str, Any] = {
    "kind": "entity",
    "name": "posts",
    "key": "id",
    "fields": {
        "title": {"type": "text", "index": True, "search": True, "required": True},
        "id": {"type": "bigint"},
        "userId": {"type": "bigint", "index": True},
    },
    "children": {"comments": {"entity": "comments", "field": "postId"}},
}
COMMENTS: dict[str, Any] = {
    "kind": "entity",
    "name": "comments",
    "key": ["id"],
    "fields": {"id": {"type": "bigint"}, "postId": {"type": "bigint", "index": True}},
}


def read(data: dict[str, Any]) -> EntityDocument:
    document = parse_document(data)
    assert isinstance(document, EntityDocument)
    return document


def faults(data: dict[str, Any]) -> str:
    with pytest.raises(Malformed) as raised:
        parse_document(data)
    return "; ".join(f"{each.pointer}: {each.detail}" for each in raised.value.pointers)


def between(*data: dict[str, Any]) -> list[tuple[str, str]]:
    documents = {(each["kind"], each["name"]): parse_document(each) for each in data}
    return [(one.pointer, one.detail) for found in find_faults(documents).values() for one in found]


def with_field(name: str, **field: Any) -> dict[str, Any]:
    return {**POSTS, "fields": {**POSTS["fields"], name: field}}


def test_the_order_of_fields_outlives_a_store_that_sorts_keys() -> None:
    stored = json.loads(json.dumps(normal_form(read(POSTS)), sort_keys=True))
    assert list(read(stored).fields) == list(POSTS["fields"])
    assert read(stored) == read(POSTS)


def test_an_entity_is_exported_as_a_person_writes_it() -> None:
    assert short_form(read(POSTS)) == POSTS
    assert list(short_form(read(POSTS))["fields"]) == list(POSTS["fields"])
    assert short_form(read({**COMMENTS, "writable": False})) == {**COMMENTS, "key": "id", "writable": False}
    assert read(short_form(read(COMMENTS))) == read(COMMENTS)


def test_a_new_field_is_told_of_once() -> None:
    before, after = (
        {("entity", "posts"): normal_form(read(each))} for each in (POSTS, with_field("views", type="integer"))
    )
    [difference] = compare_bodies(before, after)
    assert [(each.path, each.after) for each in difference.fields] == [("fields.views", {"type": "integer"})]
    turned = {**POSTS, "order": ["id", "title", "userId"]}
    [difference] = compare_bodies(before, {("entity", "posts"): normal_form(read(turned))})
    assert [each.path for each in difference.fields] == ["order"]


@pytest.mark.parametrize("name", ["subscription_status", "a", "a" * 39, "x_", "a__b"])
def test_names_of_entities_are_paths(name: str) -> None:
    assert read({**POSTS, "name": name}).name == name


@pytest.mark.parametrize("name", ["", "Posts", "a-b", "1a", "a" * 40, "_a", "a\n", "ä", 'a"b', *sorted(OWN_PATHS)])
def test_other_names_are_refused(name: str) -> None:
    assert faults({**POSTS, "name": name}).startswith("/name: ")


@pytest.mark.parametrize(
    "name", ["_json", "a-b", 'a"b', "1a", "a b", "a" * 60, "", "ä", "a\n", *sorted(SYSTEM_COLUMNS)]
)
def test_fields_that_could_not_be_columns_are_refused(name: str) -> None:
    assert faults(with_field(name, type="text")).startswith("/fields")


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ({"type": "varchar"}, "/fields/x/type: "),
        ({"type": "text", "precision": 3}, "`precision` and `scale` are those of a `numeric`"),
        ({"type": "numeric", "scale": 3}, "`scale` needs a `precision`"),
        ({"type": "numeric", "precision": 2, "scale": 3}, "`scale` needs a `precision`"),
        ({"type": "integer", "search": True}, "full text search looks into fields of type `text`"),
        ({"type": "json", "index": True}, "no order that an index could keep"),
        ({"type": "text", "unique": True}, "unknown key `unique`"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(field: dict[str, Any], told: str) -> None:
    assert told in faults(with_field("x", **field))


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"key": []}, "/key"),
        ({"key": ["id", "id"]}, "a field stands here twice"),
        ({"key": "uuid"}, "the key `uuid` is none of the fields"),
        ({"fields": {}}, "/fields"),
        ({"fields": {"id": {"type": "double"}}}, "`id` is `double`"),
        ({"fields": {f"f{at}": {"type": "text"} for at in range(1_001)}}, "/fields"),
        ({"order": ["id"]}, "`order` names each of the fields once"),
        ({"order": ["id", "title", "title"]}, "`order` names each of the fields once"),
        ({"order": "id"}, "/order"),
        ({"fields": ["id"]}, "/fields: this is a mapping"),
        ({"children": {"Comments": {"entity": "comments", "field": "postId"}}}, "/children"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(part: dict[str, Any], told: str) -> None:
    assert told in faults({**POSTS, **part})


def test_children_are_there_and_can_be_found_by_the_key() -> None:
    assert between(POSTS, COMMENTS) == []
    assert between(POSTS) == [("/children/comments/entity", "there is no entity `comments`; known entities: posts")]
    strange = {**COMMENTS, "fields": {"id": {"type": "bigint"}, "postID": {"type": "text"}}}
    assert between(POSTS, strange) == [
        ("/children/comments/field", "`comments` has no field `postId`; did you mean `postID`?")
    ]
    slow = {**COMMENTS, "fields": {"id": {"type": "bigint"}, "postId": {"type": "text"}}}
    assert [told for _, told in between(POSTS, slow)] == [
        "`postId` is `text`, and the key of `posts` is `bigint`: they could never be equal",
        "`postId` of `comments` needs `index: true`: each look would read all records",
    ]
    assert between({**POSTS, "key": ["id", "userId"]}, COMMENTS) == [
        ("/children/comments", "the key of `posts` has 2 fields; children are found by one")
    ]


def test_a_plan_says_what_becomes_of_tables() -> None:
    def effects(before: dict[str, Any] | None, after: dict[str, Any] | None) -> tuple[str, ...]:
        turn = [{} if each is None else {("entity", "posts"): read(each)} for each in (before, after)]
        bodies = [{name: normal_form(document) for name, document in side.items()} for side in turn]
        found = tell_effects(compare_bodies(*bodies), *turn)
        return found[0].effects if found else ()

    assert effects(None, POSTS) == ("entity posts is made",)
    assert effects(POSTS, None) == ("entity posts is hidden; its data are kept",)
    assert effects(POSTS, POSTS) == effects(POSTS, {**POSTS, "children": {}}) == ()
    fields = {
        "title": {"type": "text"},
        "id": {"type": "integer"},
        "userId": {"type": "bigint", "index": True, "required": True},
        "sum": {"type": "numeric", "precision": 9, "scale": 2},
    }
    assert effects(POSTS, {**POSTS, "fields": fields, "key": ["id", "userId"]}) == (
        "entity posts needs a plan: its key becomes id, userId",
        "entity posts may lack title",
        "entity posts loses an index on title",
        "entity posts loses full text of title",
        "entity posts needs a plan: id becomes integer",
        "entity posts needs a plan where records lack it: userId is required",
        "entity posts gets the field sum",
        "entity posts has its records written anew, beside readers and writers",
    )
    back = effects({**POSTS, "fields": fields}, {**POSTS, "fields": {"id": {"type": "integer"}}})
    assert "entity posts no longer shows the field title; its data are kept" in back
