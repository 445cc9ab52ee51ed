"""What documents and changesets may say, and how a fault is told."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.cfg.models import Action, Changeset, Plan, StoredDocument
from nms.cfg.plan import draw_plan
from nms.cfg.problems import RevisionMoved
from nms.cfg.standing import Standing
from nms.cfg.text import Draft, read_drafts, write_text
from nms.common.document import PipelineDocument, json_schema, normal_form, parse_document, short_form
from nms.common.problem import Malformed

EXAMPLES = Path(__file__).parents[2] / "examples"

BILLING = {"kind": "system", "name": "billing", "type": "postgres", "dsn": "postgresql://u@127.0.0.1/billing"}
CRM = {"kind": "system", "name": "crm", "type": "postgres", "dsn": "postgresql://u@127.0.0.1/crm"}
ERP = {"kind": "system", "name": "erp", "type": "postgres", "dsn": "env://ERP_DSN"}
PIPELINE: dict[str, Any] = {
    "kind": "pipeline",
    "name": "subscriptions",
    "source": "billing",
    "target": "crm",
    "datasets": [{"source": "public.subscription"}],
}


def pipeline(**parts: Any) -> dict[str, Any]:
    return {**PIPELINE, **parts}


def draw(*bodies: Any, stored: list[StoredDocument] | None = None, revision: int = 0, **parts: Any) -> Plan:
    return draw_plan(Standing.of(revision, stored or []), Changeset([Draft(body) for body in bodies], **parts))


def store(plan: Plan) -> list[StoredDocument]:
    return [StoredDocument(each.kind, each.name, 1, normal_form(each)) for each in plan.documents.values()]


def faults(*bodies: Any, **parts: Any) -> dict[str, str]:
    with pytest.raises(Malformed) as caught:
        draw(*bodies, **parts)
    assert caught.value.status == 422
    assert caught.value.remedy
    return {each.pointer: each.detail for each in caught.value.pointers}


names = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
columns = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10)
tables = st.tuples(columns, columns).map(lambda parts: ".".join('"' + part.replace('"', '""') + '"' for part in parts))
datasets = st.fixed_dictionaries(
    {"source": tables},
    optional={"target": tables, "fields": st.dictionaries(columns, columns, min_size=1, max_size=3)},
)
pipelines = st.fixed_dictionaries(
    {"kind": st.just("pipeline"), "name": names, "source": st.just("billing"), "target": st.just("crm")},
    optional={
        "capture": st.sampled_from(["log", "poll", "compare"]),
        "every": st.sampled_from(["30s", "1500 ms", "2h"]),
        "initial": st.sampled_from(["copy", "none"]),
        "missing": st.sampled_from(["upsert", "ignore"]),
        "shared": st.booleans(),
        "batch": st.fixed_dictionaries({}, optional={"changes": st.integers(1, 10**6)}),
        "wal_budget": st.sampled_from(["4GB", "64MB", 1 << 27, (1 << 27) + 1, "3 TB"]),
    },
)


@given(pipelines, st.lists(datasets, min_size=1, max_size=3))
def test_what_is_exported_applies_as_no_change(body: dict[str, Any], mapped: list[dict[str, Any]]) -> None:
    try:
        plan = draw(BILLING, CRM, {**body, "datasets": mapped})
    except Malformed:
        return
    exported = write_text(short_form(each) for each in plan.documents.values())
    again = draw_plan(Standing.of(1, store(plan)), Changeset(read_drafts(exported), prune=True))
    assert again.differences == ()
    assert again.documents == plan.documents


@pytest.mark.parametrize("body", [BILLING, CRM, ERP, PIPELINE, {**CRM, "password": "file:///run/secrets/crm"}])
def test_both_forms_read_back_as_the_same_document(body: dict[str, Any]) -> None:
    document = parse_document(body)
    assert parse_document(normal_form(document)) == document
    assert parse_document(short_form(document)) == document


def test_defaults_are_written_out_in_the_normal_form_and_left_out_of_the_short_form() -> None:
    document = parse_document(PIPELINE)
    assert isinstance(document, PipelineDocument)
    assert normal_form(document) == {
        **PIPELINE,
        "capture": "log",
        "on_demand": False,
        "direction": "one-way",
        "back": "log",
        "deletes": "guarded",
        "conflicts": None,
        "datasets": [
            {
                "source": "public.subscription",
                "target": "public.subscription",
                "fields": None,
                "key": None,
                "where": None,
                "constants": None,
                "casts": None,
                "version": None,
                "cursor": None,
                "compare": None,
                "overlap": None,
            }
        ],
        "every": None,
        "change_log": False,
        "initial": "copy",
        "missing": "upsert",
        "shared": False,
        "batch": {"changes": 20000},
        "wal_budget": "4GB",
        "wal_policy": "alarm",
        "drift": "ignore",
    }
    assert short_form(document) == PIPELINE
    assert document.slot == "nms_subscriptions"


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({"nmae": "x"}, "/nmae", "did you mean `name`"),
        ({"name": "Sub_scriptions"}, "/name", "lower case"),
        ({"name": None}, "/name", "text"),
        ({"source": 5}, "/source", "text"),
        ({"target": "billing"}, "/target", "own source"),
        ({"capture": "pull"}, "/capture", "captured by `log` or `poll`"),
        ({"capture": "magic"}, "/capture", "`log`"),
        ({"every": "30s"}, "/every", "capture: poll"),
        ({"change_log": True}, "/change_log", "capture: poll"),
        ({"on_demand": True}, "/on_demand", "rounds"),
        ({"datasets": [{"source": "a.b", "cursor": "c"}]}, "/datasets", "capture: poll"),
        ({"direction": "two-way"}, "/direction", "`capture: pull`"),
        ({"direction": ["one-way"]}, "/direction", "'one-way' or 'two-way'"),
        ({"conflicts": {}}, "/conflicts", "direction: two-way"),
        ({"initial": "maybe"}, "/initial", "copy"),
        ({"capture": "pull", "initial": "none", "source": "api"}, "/initial", "first round"),
        ({"missing": "explode"}, "/missing", "upsert"),
        ({"shared": "yes"}, "/shared", "bool"),
        ({"batch": {"changes": 0}}, "/batch/changes", "greater"),
        ({"batch": {"changes": "9"}}, "/batch/changes", "integer"),
        ({"batch": {"changes": True}}, "/batch/changes", "integer"),
        ({"batch": {"changes": 10**9}}, "/batch/changes", "less"),
        ({"batch": {"change": 5}}, "/batch/change", "did you mean `changes`"),
        ({"wal_budget": "1MB"}, "/wal_budget", "between"),
        ({"wal_budget": 10**30}, "/wal_budget", "between"),
        ({"datasets": []}, "/datasets", "at least 1"),
        ({"datasets": {}}, "/datasets", "list"),
        ({"datasets": None}, "/datasets", "list"),
        ({"datasets": [{}]}, "/datasets/0/source", "missing"),
        ({"datasets": ["public.a"]}, "/datasets/0", "mapping"),
        ({"datasets": [{"source": "a"}]}, "/datasets/0/source", "schema"),
        ({"datasets": [{"source": "a.b", "target": "c"}]}, "/datasets/0/target", "schema"),
        ({"datasets": [{"source": "a.b", "kay": "c"}]}, "/datasets/0/kay", "did you mean `key`"),
        ({"datasets": [{"source": "a.b", "fields": {"x": "z", "y": "z"}}]}, "/datasets/0/fields", "both go to"),
        ({"datasets": [{"source": "a.b", "fields": {"": "z"}}]}, "/datasets/0/fields/", "bytes"),
        ({"datasets": [{"source": "a.b", "fields": {"x/y": ""}}]}, "/datasets/0/fields/x~1y", "bytes"),
        ({"datasets": [{"source": "a.b", "fields": {}}]}, "/datasets/0/fields", "at least 1"),
        ({"datasets": [{"source": "a.b", "fields": {"x": "x"}, "key": ["y"]}]}, "/datasets/0/key", "not among"),
        ({"datasets": [{"source": "a.b", "key": ["y", "y"]}]}, "/datasets/0/key", "twice"),
        ({"datasets": [{"source": "a.b", "key": "y"}]}, "/datasets/0/key", "list"),
        ({"datasets": [{"source": "a.b"}, {"source": "a.c", "target": "a.b"}]}, "/datasets/1/target", "target of two"),
        ({"datasets": [{"source": "a.b"}, {"source": '"a"."b"', "target": "a.c"}]}, "/datasets", "source of two"),
    ],
)
def test_a_fault_of_a_pipeline_has_one_pointer(parts: dict[str, Any], pointer: str, told: str) -> None:
    found = faults(BILLING, CRM, pipeline(**parts))
    assert list(found) == [f"/documents/2{pointer}"]
    assert told in found[f"/documents/2{pointer}"]


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({"type": "warehouse"}, "/dsn", "unknown key"),
        ({"type": "oracle"}, "/type", "`postgres`"),
        ({"dsn": "postgresql://u:hunter2@h/d"}, "/dsn", "password"),
        ({"dsn": "postgresql://u@h/d?options=-cx%3Dy"}, "/dsn", "options"),
        ({"dsn": "postgresql://u@%2Ftmp/d"}, "/dsn", "socket"),
        ({"dsn": "env://DB_NMS_DSN"}, "/dsn", "NMS itself"),
        ({"dsn": 5}, "/dsn", "string"),
        ({"password": "hunter2"}, "/password", "env://NAME"),
        ({"password": 42}, "/password", "env://NAME"),
        ({"password": "file://../x"}, "/password", "secret"),
        ({"host": "x"}, "/host", "unknown key"),
    ],
)
def test_a_fault_of_a_system_has_one_pointer_and_shows_no_secret(
    parts: dict[str, Any], pointer: str, told: str
) -> None:
    found = faults({**BILLING, **parts})
    assert list(found) == [f"/documents/0{pointer}"]
    assert told in found[f"/documents/0{pointer}"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [(None, ""), ([], ""), ("x", ""), ({}, "/kind"), ({"kind": "x"}, "/kind"), ({"kind": []}, "/kind")],
)
def test_what_is_no_document_is_refused(body: Any, pointer: str) -> None:
    assert list(faults(body)) == [f"/documents/0{pointer}"]


def test_all_faults_of_all_documents_are_told_at_once_with_their_places() -> None:
    text = write_text([{**BILLING, "type": "oracle"}, pipeline(capture="magic", extra=1), {**CRM, "password": "x"}])
    with pytest.raises(Malformed) as caught:
        draw_plan(Standing.of(0), Changeset(read_drafts(text, "f.yaml")))
    told = [f"{each.pointer} {each.detail.split(' ')[0]}" for each in caught.value.pointers]
    assert told == [
        "/documents/0/type f.yaml:3:",
        "/documents/1/capture f.yaml:12:",
        "/documents/1/extra f.yaml:13:",
        "/documents/2/password f.yaml:19:",
    ]


def test_a_name_twice_is_refused_and_both_places_are_told() -> None:
    text = write_text([BILLING, BILLING])
    with pytest.raises(Malformed) as caught:
        draw_plan(Standing.of(0), Changeset(read_drafts(text, "f.yaml")))
    assert "f.yaml:7" in caught.value.pointers[0].detail
    assert "f.yaml:2" in caught.value.pointers[0].detail


def test_files_that_stand_alone_may_state_the_same_system() -> None:
    drafts = [*read_drafts(write_text([BILLING]), "a.yaml"), *read_drafts(write_text([BILLING]), "b.yaml")]
    assert len(draw_plan(Standing.of(0), Changeset(drafts)).differences) == 1
    other = read_drafts(write_text([{**BILLING, "dsn": "postgresql://u@127.0.0.1/other"}]), "b.yaml")
    with pytest.raises(Malformed, match="1 fault"):
        draw_plan(Standing.of(0), Changeset([drafts[0], *other]))


def test_an_unknown_system_is_named_beside_the_known_ones() -> None:
    found = faults(BILLING, pipeline(target="crn"))
    assert list(found) == ["/documents/1/target"]
    assert "known systems: billing" in found["/documents/1/target"]


def test_two_names_for_one_database_are_no_pipeline() -> None:
    twin = {**BILLING, "name": "twin", "dsn": "postgresql://other@127.0.0.1:5432/billing?sslmode=disable"}
    assert list(faults(BILLING, twin, pipeline(target="twin"))) == ["/documents/2/target"]
    reference = {**ERP, "name": "erp2"}
    assert list(faults(ERP, reference, pipeline(source="erp", target="erp2"))) == ["/documents/2/target"]


def test_an_exchange_takes_any_number_of_datasets() -> None:
    broker = {"kind": "system", "name": "broker", "type": "amqp", "dsn": "amqp://u@127.0.0.1/%2F"}
    both = [{"source": "a.b", "target": "shop"}, {"source": "a.c", "target": "shop"}]
    assert draw(BILLING, broker, pipeline(target="broker", datasets=both)).differences


def test_two_pipelines_into_one_table_need_a_policy_on_both() -> None:
    second = pipeline(name="second", source="erp")
    found = faults(BILLING, CRM, ERP, PIPELINE, second)
    assert list(found) == ["/documents/3/datasets/0/target", "/documents/4/datasets/0/target"]
    assert faults(BILLING, CRM, ERP, PIPELINE, {**second, "shared": True})
    assert draw(BILLING, CRM, ERP, {**PIPELINE, "shared": True}, {**second, "shared": True}).differences


def test_a_pipeline_into_a_table_of_a_stored_one_is_refused() -> None:
    stored = store(draw(BILLING, CRM, ERP, PIPELINE))
    found = faults(pipeline(name="second", source="erp", shared=True), stored=stored)
    assert "/documents/0/datasets/0/target" in found
    assert "stored pipeline `subscriptions`" in found[""]


def test_rows_that_would_go_round_are_refused() -> None:
    back = pipeline(name="back", source="crm", target="billing")
    assert "round" in faults(BILLING, CRM, PIPELINE, back)["/documents/3/datasets/0/target"]
    onward = pipeline(name="onward", source="crm", target="erp")
    home = pipeline(name="home", source="erp", target="billing")
    assert len(faults(BILLING, CRM, ERP, PIPELINE, onward, home)) == 3
    assert draw(BILLING, CRM, ERP, PIPELINE, onward).differences
    elsewhere = pipeline(name="back", source="crm", target="billing", datasets=[{"source": "public.other"}])
    assert draw(BILLING, CRM, PIPELINE, elsewhere).differences


def test_a_system_that_a_stored_pipeline_needs_cannot_turn_into_its_other_end() -> None:
    stored = store(draw(BILLING, CRM, PIPELINE))
    found = faults({**CRM, "dsn": BILLING["dsn"]}, stored=stored)
    assert "stored pipeline `subscriptions`, /target" in found[""]


def test_a_fault_that_was_there_before_stops_nobody_else() -> None:
    stored = [each for each in store(draw(BILLING, CRM, PIPELINE)) if each.name != "crm"]
    assert [each.name for each in draw(ERP, stored=stored).differences] == ["erp"]


def test_a_stored_document_of_another_version_is_left_alone() -> None:
    stored = [StoredDocument("system", "later", 1, {"kind": "system", "name": "later", "type": "teleport"})]
    plan = draw(BILLING, stored=stored)
    assert [(each.action, each.name) for each in plan.differences] == [(Action.ADD, "billing")]
    pruned = draw(BILLING, stored=stored, prune=True)
    assert [(each.action, each.name) for each in pruned.differences] == [
        (Action.ADD, "billing"),
        (Action.REMOVE, "later"),
    ]


def test_a_stored_document_without_todays_new_fields_is_no_change() -> None:
    body = normal_form(parse_document(PIPELINE))
    del body["shared"], body["batch"]
    stored = [*store(draw(BILLING, CRM)), StoredDocument("pipeline", "subscriptions", 1, body)]
    assert draw(PIPELINE, stored=stored).differences == ()


def test_prune_takes_what_is_not_in_the_changeset_and_nothing_without_it() -> None:
    stored = store(draw(BILLING, CRM, PIPELINE))
    assert draw(BILLING, stored=stored).differences == ()
    removed = draw(BILLING, stored=stored, prune=True)
    assert [(each.action, each.kind, each.name) for each in removed.differences] == [
        (Action.REMOVE, "system", "crm"),
        (Action.REMOVE, "pipeline", "subscriptions"),
    ]
    assert list(faults(BILLING, PIPELINE, stored=stored, prune=True)) == ["/documents/1/target"]


def test_a_difference_names_fields_and_both_values() -> None:
    stored = store(draw(BILLING, CRM, PIPELINE))
    mapped = [{"source": "public.plan"}, {"source": "public.subscription", "fields": {"email": "mail"}}]
    (found,) = draw(pipeline(datasets=mapped, batch={"changes": 5}), stored=stored).differences
    assert found.action is Action.CHANGE
    assert [(each.path, each.before, each.after) for each in found.fields] == [
        ("datasets[public.subscription].fields", None, {"email": "mail"}),
        (
            "datasets[public.plan]",
            None,
            {"source": "public.plan", "target": "public.plan"},
        ),
        ("batch.changes", 20000, 5),
    ]
    json.dumps(found.to_dict())


def test_a_new_order_of_datasets_is_a_difference() -> None:
    two, more = [{"source": "public.a"}, {"source": "public.b"}], [{"source": "public.c"}]
    stored = store(draw(BILLING, CRM, pipeline(datasets=two)))
    for datasets, told in ((two[::-1], []), (two[::-1] + more, ["datasets[public.c]"])):
        (found,) = draw(pipeline(datasets=datasets), stored=stored).differences
        assert [each.path for each in found.fields] == [*told, "datasets (order)"]


def test_a_stale_base_is_refused_with_the_current_revision() -> None:
    with pytest.raises(RevisionMoved) as caught:
        draw(BILLING, revision=4, base=3)
    assert (caught.value.status, caught.value.revision) == (409, 4)


def test_the_schema_accepts_what_the_models_accept_and_names_every_field() -> None:
    schema = json_schema()
    assert json.dumps(schema)
    assert set(schema["$defs"]["PipelineDocument"]["properties"]) == set(PipelineDocument.model_fields)
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


def test_the_schema_takes_the_examples_and_refuses_what_the_models_refuse() -> None:
    schema = json_schema()
    validator = import_module("jsonschema").Draft202012Validator(schema)
    validator.check_schema(schema)
    for path in EXAMPLES.glob("*.yaml"):
        for draft in read_drafts(path.read_bytes(), path.name):
            assert validator.is_valid(draft.data)
            assert validator.is_valid(normal_form(parse_document(draft.data)))
    wrong: list[dict[str, Any]] = [
        {"nmae": 1},
        {"name": "A"},
        {"capture": "magic"},
        {"datasets": []},
        {"batch": {"changes": 0}},
    ]
    for parts in wrong:
        assert not validator.is_valid(pipeline(**parts)), parts


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_sound_and_pipelines_name_their_systems(path: Path) -> None:
    # Some stand on another one: both are named where the page says how it is applied.
    named = re.findall(r"(?<= -f examples/)[\w-]+\.yaml", path.read_text())
    files = {EXAMPLES / name for name in named} | {path}
    drafts = [draft for file in sorted(files) for draft in read_drafts(file.read_bytes(), file.name)]
    plan = draw_plan(Standing.of(0), Changeset(drafts))
    assert plan.differences
