"""What pipelines from the inbox may say, whatever their target is."""

from typing import Any

import pytest

from nms.common.document import InboxSystem, RestSystem, received_key
from nms.common.document.mapping import DatasetMapping
from tests.unit.test_documents_resources import CUSTOMERS, KAFKA, WRITES, api, told
from tests.unit.test_documents_rules import CRM, draw, pipeline

ENDPOINT = {"kind": "endpoint", "name": "shop", "scheme": {"type": "github", "secrets": ["env://SHOP_HOOK"]}}
HOOKS = {"kind": "system", "name": "hooks", "type": "inbox", "resources": {
    "customers": {"endpoint": "shop", "records": "customer"}}}  # fmt: skip
MAPPED: dict[str, Any] = {"source": "customers", "target": "customers", "fields": {"number": "id", "name": "name"}}
ASSIGNED = {**CUSTOMERS, "writes": {**WRITES, "assigned": True, "idempotency": "Idempotency-Key"}}
KNOWN = (ENDPOINT, HOOKS, CRM, KAFKA)


def feed(dataset: dict[str, Any], target: str = "shop", **parts: Any) -> dict[str, Any]:
    return pipeline(**{"source": "hooks", "target": target, "capture": "feed", "datasets": [dataset], **parts})


@pytest.mark.parametrize(
    "body",
    [
        feed(MAPPED),
        feed({**MAPPED, "key": ["number"]}),
        feed({**MAPPED, "target": "topic"}, target="events"),
        feed({**MAPPED, "target": "topic", "key": ["name"]}, target="events"),
        feed({"source": "customers", "target": "public.customer"}, target="crm"),
    ],
)
def test_the_inbox_goes_to_tables_apis_and_queues(body: dict[str, Any]) -> None:
    assert draw(*KNOWN, api(), body).differences


@pytest.mark.parametrize(
    ("body", "pointer", "sentence"),
    [
        (feed({"source": "customers", "target": "customers"}), "/datasets/0", "name them in `fields`"),
        (feed({"source": "shop", "target": "topic"}, target="events"), "/datasets/0", "name them in `fields`"),
        (feed({**MAPPED, "fields": {"name": "name"}}), "/datasets/0/fields", "part of the key there"),
        (feed({**MAPPED, "target": "orders"}), "/datasets/0/target", "no `writes`"),
        (feed({**MAPPED, "where": {"a": 1}}), "/datasets/0/where", "two databases only"),
        (feed({**MAPPED, "constants": {"a": 1}}), "/datasets/0/constants", "two databases only"),
        (feed({**MAPPED, "version": "number"}), "/datasets/0/version", "two databases only"),
        (feed(MAPPED, capture="log"), "/capture", "captured by `feed`"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(body: dict[str, Any], pointer: str, sentence: str) -> None:
    assert sentence in told(*KNOWN, api(), body)[pointer]


def test_records_are_told_apart_by_what_feeds_the_key_there_or_by_what_is_named() -> None:
    source = InboxSystem.model_validate(HOOKS)

    def key(customers: dict[str, Any], **parts: Any) -> tuple[str, ...] | None:
        target = RestSystem.model_validate(api(customers=customers))
        return received_key(DatasetMapping.model_validate({**MAPPED, **parts}), source, target)

    looked_up = {**CUSTOMERS, "writes": {**WRITES, "assigned": True, "lookup": {"parameter": "q", "field": "name"}}}
    assert key(CUSTOMERS) == ("number",)
    assert key(looked_up) == ("name",)
    assert key(ASSIGNED) is None
    assert key(ASSIGNED, key=["name"]) == ("name",)
    assert "name the fields that do in `key`" in told(*KNOWN, api(customers=ASSIGNED), feed(MAPPED))["/datasets/0"]
