"""What a document may say of a comparison."""

from typing import Any

import pytest

from nms.common.document import PipelineDocument, normal_form, parse_document, short_form
from nms.common.problem import Malformed

RULE: dict[str, Any] = {"when": {"status": "inactive"}, "take": ["status"]}


def pipeline(**parts: Any) -> dict[str, Any]:
    body = {"kind": "pipeline", "name": "check", "source": "billing", "target": "crm", "capture": "compare"}
    return {**body, "datasets": [{"source": "public.subscription"}], **parts}


def ruled(rule: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"datasets": [{"source": "a.b", "compare": rule, **parts}]}


def test_a_rule_is_written_as_it_was_read() -> None:
    when = {"status": "inactive", "plan": ["basic", None], "seats": 3, "beta": True, "ends_at": None}
    document = parse_document(pipeline(**ruled({"when": when, "take": ["status"]}), every="30s"))
    assert isinstance(document, PipelineDocument)
    rule = document.datasets[0].compare
    assert rule is not None
    assert list(rule.when.values()) == [("inactive",), ("basic", None), ("3",), ("true",), (None,)]
    assert parse_document(short_form(document)) == document == parse_document(normal_form(document))
    assert short_form(document)["datasets"][0]["compare"]["when"]["status"] == "inactive"
    assert document.interval == 30


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({"change_log": True}, "/change_log", "needs no change log"),
        ({"capture": "log", **ruled(RULE)}, "/datasets", "capture: compare"),
        (ruled({**RULE, "when": {}}), "/datasets/0/compare/when", "at least 1"),
        (ruled({**RULE, "when": {"a": []}}), "/datasets/0/compare/when/a", "1 to 1000"),
        (ruled({**RULE, "when": {"a": {"b": 1}}}), "/datasets/0/compare/when/a", "in quotes"),
        (ruled({**RULE, "take": ["a", "a"]}), "/datasets/0/compare/take", "twice"),
        (ruled({**RULE, "then": 1}), "/datasets/0/compare/then", "unknown key"),
        (ruled(RULE, fields={"id": "id"}), "/datasets/0/compare", "not among `fields`"),
        (ruled(RULE, key=["status"]), "/datasets/0/compare", "part of the key"),
    ],
)
def test_a_fault_of_a_rule_has_one_pointer(parts: dict[str, Any], pointer: str, told: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_document(pipeline(**parts))
    (found,) = caught.value.pointers
    assert (found.pointer, told in found.detail) == (pointer, True), found
