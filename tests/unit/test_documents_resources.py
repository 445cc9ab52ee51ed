"""What pipelines from and to REST APIs may say."""

from typing import Any

import pytest

from nms.cfg.models import Action
from tests.unit.test_documents_rules import BILLING, CRM, draw, faults, pipeline, store

KAFKA = {"kind": "system", "name": "events", "type": "kafka", "servers": ["127.0.0.1:9092"]}
WRITES = {
    "create": {"method": "POST", "path": "/customers"},
    "update": {"method": "PATCH", "path": "/customers/{id}"},
    "delete": {"method": "DELETE", "path": "/customers/{id}"},
}
CUSTOMERS = {"path": "/customers", "record": "/customers/{id}", "writes": WRITES}
ORDERS = {"path": "/orders", "key": ["shop", "number"]}


def api(**resources: Any) -> dict[str, Any]:
    resources = resources or {"customers": CUSTOMERS, "orders": ORDERS}
    return {"kind": "system", "name": "shop", "type": "rest", "url": "https://api.example.com", "resources": resources}


def pull(*datasets: dict[str, Any], **parts: Any) -> dict[str, Any]:
    mapped = list(datasets) or [{"source": "customers", "target": "public.customer"}]
    return pipeline(**{"source": "shop", "target": "crm", "capture": "pull", "datasets": mapped, **parts})


def push(*datasets: dict[str, Any], **parts: Any) -> dict[str, Any]:
    mapped = list(datasets) or [{"source": "public.customer", "target": "customers"}]
    return pipeline(**{"source": "crm", "target": "shop", "datasets": mapped, **parts})


def told(*bodies: Any) -> dict[str, str]:
    """Faults of the last of these documents by pointers within it."""
    found = faults(*bodies)
    head = f"/documents/{len(bodies) - 1}"
    assert all(pointer.startswith(head) for pointer in found), found
    return {pointer.removeprefix(head): sentence for pointer, sentence in found.items()}


@pytest.mark.parametrize(
    "body",
    [
        pull(),
        pull(every="1h"),
        pull(on_demand=True),
        pull({"source": "orders", "target": "public.order", "key": ["number", "shop"]}),
        pull({"source": "orders", "target": "public.order", "fields": ["shop", "number"], "version": "number"}),
        pull(direction="two-way"),
        pull(direction="two-way", back="poll", conflicts={"policy": "newest", "newest": "updated_at"}),
        push(),
        push(capture="poll", every="30s", change_log=True),
        push({"source": "public.customer", "target": "customers", "fields": {"number": "id", "name": "name"}}),
    ],
)
def test_what_fits_is_taken(body: dict[str, Any]) -> None:
    assert draw(BILLING, CRM, api(), body).differences


@pytest.mark.parametrize(
    ("body", "pointer", "sentence"),
    [
        (pull(capture="log"), "/capture", "captured by `pull`"),
        (pull(capture="poll"), "/capture", "captured by `pull`"),
        (pull(every="5min", on_demand=True), "/on_demand", "`every` means nothing"),
        (pull(change_log=True), "/change_log", "change log"),
        (pull({"source": "customer", "target": "a.b"}), "/datasets/0/source", "did you mean `customers`"),
        (pull({"source": "x", "target": "a.b"}), "/datasets/0/source", "its resources: customers, orders"),
        (pull({"source": "customers"}), "/datasets/0/target", "name the schema"),
        (pull({"source": "customers", "target": "a.b", "key": ["name"]}), "/datasets/0/key", "is id"),
        (pull({"source": "customers", "target": "a.b", "fields": ["name"]}), "/datasets/0/fields", "`id`"),
        (pull({"source": "customers", "target": "a.b", "where": {"a": 1}}), "/datasets/0/where", "databases only"),
        (pull({"source": "customers", "target": "a.b", "constants": {"a": 1}}), "/datasets/0/constants", "only"),
        (pull({"source": "customers", "target": "a.b", "casts": {"a": "text"}}), "/datasets/0/casts", "only"),
        (pull(target="events", datasets=[{"source": "customers"}]), "/target", "goes into a database"),
        (pull({"source": "orders", "target": "a.b"}, direction="two-way"), "/datasets/0/source", "no `writes`"),
        (push({"source": "a.b", "target": "t"}, target="events", capture="poll"), "/capture", "insert from an update"),
        (pull(back="poll"), "/back", "direction: two-way"),
        (pull(conflicts={}), "/conflicts", "direction: two-way"),
        (pull(direction="two-way", conflicts={"policy": "newest"}), "/conflicts/newest", "names a field"),
        (pull(direction="two-way", conflicts={"newest": "a"}), "/conflicts/newest", "names a field"),
        (
            pull(direction="two-way", conflicts={"policy": "source", "fields": {"a": "target"}}),
            "/conflicts/fields",
            "`merge` only",
        ),
        (
            pull({"source": "customers", "target": "a.b", "version": "n"}, direction="two-way"),
            "/datasets/0/version",
            "`conflicts`",
        ),
        (
            pull(
                {"source": "customers", "target": "a.b", "fields": ["id", "name"]},
                direction="two-way",
                conflicts={"fields": {"email": "source"}},
            ),
            "/conflicts/fields/email",
            "no dataset",
        ),
        (
            pull(
                {"source": "customers", "target": "a.b", "fields": ["id", "name"]},
                direction="two-way",
                conflicts={"policy": "newest", "newest": "updated_at"},
            ),
            "/conflicts/newest",
            "not among `fields`",
        ),
        (push(direction="two-way"), "/direction", "`capture: pull`"),
        (push(capture="compare"), "/capture", "reads both sides"),
        (push({"source": "public.customer"}), "/datasets/0/target", "no resource `public.customer`"),
        (push({"source": "public.customer", "target": "order"}), "/datasets/0/target", "did you mean `orders`"),
        (push({"source": "public.order", "target": "orders"}), "/datasets/0/target", "no `writes`"),
        (
            push({"source": "a.b", "target": "customers"}, {"source": "a.c", "target": "customers"}),
            "/datasets/1/target",
            "target of two",
        ),
        (
            push({"source": "public.customer", "target": "customers", "fields": ["name"]}),
            "/datasets/0/fields",
            "part of the key there",
        ),
        (
            push({"source": "public.customer", "target": "customers", "constants": {"a": 1}}),
            "/datasets/0/constants",
            "databases only",
        ),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(body: dict[str, Any], pointer: str, sentence: str) -> None:
    found = told(BILLING, CRM, KAFKA, api(), body)
    assert list(found) == [pointer]
    assert sentence in found[pointer]


def test_a_queue_goes_to_no_api() -> None:
    body = push(source="events", capture="feed", datasets=[{"source": "customers"}])
    assert "goes into a database" in told(KAFKA, api(), body)["/target"]


def test_two_way_takes_resources_that_keep_the_key_they_are_given() -> None:
    assigned = {**CUSTOMERS, "writes": {**WRITES, "assigned": True, "idempotency": "Idempotency-Key"}}
    assert draw(CRM, api(customers=assigned), push()).differences
    assert "keep the key" in told(CRM, api(customers=assigned), pull(direction="two-way"))["/datasets/0/source"]


@pytest.mark.parametrize("record", [None, "/shops/{shop}/customers/{id}"])
def test_two_way_reads_single_records_by_their_key(record: str | None) -> None:
    customers = {**CUSTOMERS, "record": record, "writes": {**WRITES, "precondition": "none"}}
    assert draw(CRM, api(customers=customers), pull()).differences
    assert "by its key" in told(CRM, api(customers=customers), pull(direction="two-way"))["/datasets/0/source"]


def test_what_a_request_needs_is_sent() -> None:
    nested = {**WRITES, "create": {"method": "POST", "path": "/shops/{shop}/customers"}}
    mapped: dict[str, Any] = {"source": "public.customer", "target": "customers", "fields": ["id", "name"]}
    found = told(CRM, api(customers={**CUSTOMERS, "writes": nested}), push(mapped))
    assert "`shop`" in found["/datasets/0/fields"]
    looked_up = {**WRITES, "assigned": True, "lookup": {"parameter": "ref", "field": "reference"}}
    mapped["fields"] = {"number": "number"}
    found = told(CRM, api(customers={**CUSTOMERS, "writes": looked_up}), push(mapped))
    assert "`reference`" in found["/datasets/0/fields"]
    mapped["fields"] = {"number": "reference"}
    assert draw(CRM, api(customers={**CUSTOMERS, "writes": looked_up}), push(mapped)).differences


def test_records_that_would_go_round_are_refused_and_two_way_is_named() -> None:
    onward = push(name="onward")
    found = faults(CRM, api(), pull(), onward)
    assert sorted(found) == ["/documents/2/datasets/0/target", "/documents/3/datasets/0/target"]
    assert all("direction: two-way" in sentence for sentence in found.values())
    assert faults(CRM, api(), pull(direction="two-way"), onward)
    assert draw(CRM, api(), pull(direction="two-way")).differences
    elsewhere = push({"source": "public.lead", "target": "customers"}, name="onward")
    assert draw(CRM, api(), pull(), elsewhere).differences


def test_records_written_by_two_pipelines_are_shared_by_both() -> None:
    second = push(name="second", source="billing")
    assert len(faults(BILLING, CRM, api(), push(), second)) == 2
    assert draw(BILLING, CRM, api(), push(shared=True), {**second, "shared": True}).differences


def test_a_plan_of_an_api_names_what_changes_and_leaves_out_what_nobody_wrote() -> None:
    stored = store(draw(CRM, api(), pull()))
    paged = {**CUSTOMERS, "paging": {"style": "page", "parameter": "page"}}
    (found,) = draw(api(customers=paged, orders=ORDERS, leads={"path": "/leads"}), stored=stored).differences
    assert (found.action, found.name) == (Action.CHANGE, "shop")
    assert {each.path: (each.before, each.after) for each in found.fields} == {
        "resources.customers.paging": (None, {"style": "page", "parameter": "page"}),
        "resources.leads": (None, {"path": "/leads"}),
    }


def test_a_plan_of_another_login_tells_both_and_no_secret() -> None:
    stored = store(draw(api()))
    login = {"type": "basic", "user": "nms", "password": "env://SHOP_PASSWORD"}
    (found,) = draw({**api(), "login": login}, stored=stored).differences
    assert [(each.path, each.before, each.after) for each in found.fields] == [("login", None, login)]
