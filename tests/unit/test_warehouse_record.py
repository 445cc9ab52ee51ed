"""Records as callers send them: merge patches by the examples of their RFC, numbers with every digit."""

import json

import pytest

from nms.common.problem import Malformed
from nms.common.strict_json import Number, parse, write
from nms.warehouse.member import read_value
from nms.warehouse.record import merge, read_new, read_patch, write_key
from nms.warehouse.value import read_key
from tests.service.warehouse import entity

PRICES = entity(
    "prices",
    {"id": "text", "exact": {"type": "numeric", "precision": 5, "scale": 2}, "any": "numeric", "meta": "json"},
)
# RFC 7396, appendix A: the original, the patch, the result.
EXAMPLES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("original", "patch", "result"), EXAMPLES)
def test_a_merge_patch_does_what_its_rfc_says(original: str, patch: str, result: str) -> None:
    assert write(merge(parse(original.encode()), parse(patch.encode()))) == result


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        ("999.99", True), ("-999.99", True), ("1000", False), ("0.001", False), ("1.230", True), ("1.2300e0", True),
        ("9.9999e2", True), ("1e3", False), ("123e-2", True), ("1234e-3", False), ("0e400", True), ("0.000", True),
        ("-0", True), ("1e-400", False),
    ],
)  # fmt: skip
def test_a_number_is_kept_with_every_digit_or_refused(number: str, kept: bool) -> None:
    field = PRICES.fields["exact"]
    if kept:
        assert read_value(field, Number(number)) == number
    else:
        with pytest.raises(ValueError, match="this has at most"):
            read_value(field, Number(number))
    assert read_value(PRICES.fields["any"], Number(number)) == number


@pytest.mark.parametrize("key", ["a", "a,b", "%2C", "é", "a/b", " ", "a%b", "~._-", "\N{SNOWMAN}"])
def test_a_key_is_read_from_the_path_that_it_is_written_to(key: str) -> None:
    assert tuple(read_key(PRICES, write_key((key,)))) == (key,)


def test_what_a_patch_does_not_name_is_not_touched() -> None:
    was = b'{"id":"a","exact":1.50,"any":null,"meta":{"a":1.10,"b":2}}'
    assert read_patch(PRICES, parse(b'{"meta":{"b":null}}'), ("a",), was) == {"meta": '{"a":1.10}'}
    assert read_patch(PRICES, parse(b'{"any":null,"id":"a"}'), ("a",), was) == {"any": None}


def test_a_pointer_names_a_member_by_its_escaped_name_and_not_by_all_of_it() -> None:
    with pytest.raises(Malformed) as caught:
        read_new(PRICES, {"id": "a", "~/": 1, "x" * 10_000: 1}, made=False)
    told = [one.pointer for one in caught.value.pointers]
    assert told == ["/~0~1", "/" + "x" * 199]
    assert len(json.dumps(told)) < 300
