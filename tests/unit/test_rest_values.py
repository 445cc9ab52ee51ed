"""Values on their way to a REST API, and what counts as the same (pure)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import NULL, Change, Column, Op, Shape, frame
from nms.common.strict_json import Number, parse, write
from nms.connectors.rest.values import as_text, differing, is_same, key_of, to_json, values_of

SHAPE = Shape("public.item", (Column("id", "bigint"), Column("name", "text"), Column("price", "numeric")), (0,))


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("12345678901234567890", "bigint", "12345678901234567890"),
        ("1.50", "numeric", "1.50"),
        ("NaN", "double precision", '"NaN"'),
        ("t", "boolean", "true"),
        ('{"a": [1.0, null]}', "jsonb", '{"a":[1.0,null]}'),
        ("2026-01-02 03:04:05.5+00", "timestamp with time zone", '"2026-01-02T03:04:05.5+00:00"'),
        ("2026-01-02 03:04:05", "timestamp without time zone", '"2026-01-02T03:04:05"'),
        ("infinity", "timestamp with time zone", '"infinity"'),
        ("1", "text", '"1"'),
        ('ü"\\\n', "text", '"ü\\"\\\\\\n"'),
        ("{}", "integer[]", "[]"),
        ("{1,NULL,-3}", "bigint[]", "[1,null,-3]"),
        ("{{1.50,2},{3,NaN}}", "numeric[]", '[[1.50,2],[3,"NaN"]]'),
        ("[0:1]={5,6}", "integer[]", "[5,6]"),
        ("{t,f,NULL}", "boolean[]", "[true,false,null]"),
        (r'{"a b","NULL",null,"q\"\\x","","{,}",ü}', "text[]", r'["a b","NULL","null","q\"\\x","","{,}","ü"]'),
        (r'{"{\"a\": [1]}"}', "jsonb[]", '[{"a":[1]}]'),
        ('{"2026-01-02 03:04:05"}', "timestamp without time zone[]", '["2026-01-02T03:04:05"]'),
        ("{(1,1),(0,0);(2,2),(1,1)}", "box[]", '"{(1,1),(0,0);(2,2),(1,1)}"'),
    ],
)
def test_a_field_becomes_a_json_value(text: str, kind: str, expected: str) -> None:
    assert write(to_json(frame(text.encode()), kind)) == expected


def test_what_is_unchanged_is_left_out_and_null_is_null() -> None:
    change = Change(SHAPE, Op.UPDATE, frame(b"7"), (frame(b"7"), None, NULL))
    assert values_of(change, {"id": "reference"}) == {"reference": "7", "price": None}
    assert key_of(SHAPE, frame(b"7"), {"id": "reference"}) == {"reference": Number("7")}


@pytest.mark.parametrize("text", ["", "1", "{1", "{1}}", "{a b}", '{"a}', "{1}{2}"])
def test_what_is_no_array_has_no_form(text: str) -> None:
    with pytest.raises(ValueError, match="no array"):
        to_json(frame(text.encode()), "text[]")


def test_a_member_that_stands_twice_has_no_form() -> None:
    with pytest.raises(ValueError, match="twice"):
        to_json(frame(b'{"a": 1, "a": 2}'), "json")


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (Number("1.50"), Number("1.5"), True),
        (Number("1e2"), Number("100"), True),
        (Number("2.50"), "2.5", True),
        ("1.10", "1.1", False),
        (None, None, True),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05.000Z", True),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T05:04:05+02:00", True),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:06Z", False),
        (True, Number("1"), False),
        ({"a": Number("1")}, {"a": Number("1.0"), "b": None}, True),
        ([Number("1")], [Number("1"), Number("2")], False),
        ("a", "A", False),
        (Number("1e999999999"), Number("1"), False),
    ],
)
def test_values_are_compared_by_what_they_mean(ours: Any, theirs: Any, same: bool) -> None:
    assert is_same(ours, theirs) is same
    assert is_same(theirs, ours) is same


def test_a_member_that_is_not_there_is_like_null() -> None:
    assert differing({"a": None, "b": "x"}, {"c": 1}) == ["b"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_whatever_was_sent_and_comes_back_is_the_same(value: Any) -> None:
    sent = parse(json.dumps(value).encode())
    assert is_same(sent, parse(write(sent).encode()))


def test_texts_of_paths_are_plain() -> None:
    assert [as_text(value) for value in (Number("7"), True, None, "a/b")] == ["7", "true", "", "a/b"]
