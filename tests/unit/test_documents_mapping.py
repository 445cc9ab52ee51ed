"""What a mapping may say: lists of columns, conditions, constants, casts; and how a fault is told."""

from typing import Any

import pytest

from nms.common.condition import Condition, conditions_of, text_of
from nms.common.document import PipelineDocument, normal_form, parse_document, short_form
from nms.common.problem import Malformed

DATASET: dict[str, Any] = {
    "source": "public.paid",
    "fields": ["id", "amount"],
    "where": {"status": ["active", "trial"], "amount": {"gte": 10, "lt": 99.5}, "gone": None, "ok": True},
    "constants": {"origin": "shop", "note": None, "rank": 5},
    "casts": {"amount": "integer"},
}


def document(**parts: Any) -> dict[str, Any]:
    dataset = {name: value for name, value in {**DATASET, **parts}.items() if value is not ...}
    return {"kind": "pipeline", "name": "sales", "source": "shop", "target": "books", "datasets": [dataset]}


def test_a_list_of_columns_is_each_under_its_own_name_and_reads_back() -> None:
    made = parse_document(document())
    assert isinstance(made, PipelineDocument)
    assert made.datasets[0].fields == {"id": "id", "amount": "amount"}
    assert parse_document(normal_form(made)) == parse_document(short_form(made)) == made
    assert short_form(made)["datasets"][0]["where"] == DATASET["where"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, ()),
        ({"a": "x"}, (Condition("a", "eq", ("x",)),)),
        ({"a": ["x", 1]}, (Condition("a", "in", ("x", "1")),)),
        ({"a": None}, (Condition("a", "null"),)),
        ({"a": {"neq": None}}, (Condition("a", "not_null"),)),
        ({"a": {"is": None}}, (Condition("a", "null"),)),
        ({"a": {"is": "not null"}}, (Condition("a", "not_null"),)),
        ({"a": {"gte": 1, "lt": 2.5}}, (Condition("a", "gte", ("1",)), Condition("a", "lt", ("2.5",)))),
        ({"a": {"not_in": [True]}, "b": 0}, (Condition("a", "not_in", ("true",)), Condition("b", "eq", ("0",)))),
    ],
)  # fmt: skip
def test_conditions_are_read(where: dict[str, Any] | None, expected: tuple[Condition, ...]) -> None:
    assert parse_document(document(where=where))
    assert conditions_of(where) == expected


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (5, "5"), (-0.5, "-0.5"), (1e22, "1e+22"), (True, "true")])
def test_a_scalar_has_one_text(value: str | float | bool, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("parts", "pointer", "word"),
    [
        ({"fields": ["id", "id"]}, "/fields", "twice"),
        ({"fields": []}, "/fields", "at least 1"),
        ({"fields": ["id", 5]}, "/fields", "text"),
        ({"where": {}}, "/where", "mapping"),
        ({"where": "status = 'x'"}, "/where", "mapping"),
        ({"where": {"a": {}}}, "/where", "operator"),
        ({"where": {"a": {"like": "x"}}}, "/where", "`like` is no operator"),
        ({"where": {"a": []}}, "/where", "1 to 1000"),
        ({"where": {"a": ["x", None]}}, "/where", "null stands in no list"),
        ({"where": {"a": {"in": "x"}}}, "/where", "list"),
        ({"where": {"a": {"gt": None}}}, "/where", "a text, a number"),
        ({"where": {"a": {"is": "true"}}}, "/where", "not null"),
        ({"where": {"a": {"is": []}}}, "/where", "not null"),
        ({"where": {"a": {"is": {}}}}, "/where", "not null"),
        ({"where": {"a": [["x"]]}}, "/where", "a text, a number"),
        ({"where": {"a": "x\0"}}, "/where", "zero"),
        ({"where": {"": "x"}}, "/where", "bytes"),
        ({"where": {"a": float("nan")}}, "/where", "NaN"),
        ({"constants": {}}, "/constants", "mapping"),
        ({"constants": {"a": ["x"]}}, "/constants", "a text, a number"),
        ({"constants": {"amount": 5}}, "/constants", "fed by `fields`"),
        ({"casts": {"amount": "money"}}, "/casts/amount", "'text'"),
        ({"casts": {"other": "text"}}, "/casts", "not among `fields`"),
    ],
)  # fmt: skip
def test_a_fault_is_told_where_it_stands(parts: dict[str, Any], pointer: str, word: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_document(document(**parts))
    told = {one.pointer: one.detail for one in caught.value.pointers}
    assert word in told[f"/datasets/0{pointer}"], told
