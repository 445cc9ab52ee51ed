"""Pipelines from and into the warehouse: what cfg refuses, and what their datasets stand for."""

from pathlib import Path
from typing import Any

import pytest

from nms.common.document import EntityDocument, WarehouseSystem, parse_document
from nms.common.flow import DatasetSpec
from nms.common.settings import get_settings
from nms.connectors.postgres.pages.statements import upsert_page
from nms.connectors.postgres.statements import Constant, TargetTable, insert_row, update_row
from nms.connectors.warehouse.stand import as_source, as_target
from tests.unit.test_documents_rules import faults

ROOT = Path(__file__).parents[2]
WAREHOUSE = {"kind": "system", "name": "dwh", "type": "warehouse"}
CRM = {"kind": "system", "name": "crm", "type": "postgres", "dsn": "postgresql://u@127.0.0.1/crm"}
POSTS = {
    "kind": "entity",
    "name": "posts",
    "key": "id",
    "fields": {"id": {"type": "bigint"}, "title": {"type": "text"}},
}
OUT = {"source": "posts", "target": "public.p"}


def posts(dataset: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """A pipeline into the entity posts."""
    datasets = [{"source": "public.post", "target": "posts", **(dataset or {})}]
    ends = {"kind": "pipeline", "name": "posts", "source": "crm", "target": "dwh", "datasets": datasets}
    return {**ends, **parts}


def out(dataset: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A pipeline from it."""
    return posts({**OUT, **dataset}, source="dwh", target="crm", **parts)


@pytest.mark.parametrize(
    ("pipeline", "pointer", "told"),
    [
        (posts({"target": "post"}), "/datasets/0/target", "did you mean `posts`?"),
        (posts({"fields": {"id": "id", "name": "titel"}}), "/datasets/0/fields", "did you mean `title`?"),
        (posts({"fields": {"id": "id", "name": "_source"}}), "/datasets/0/fields", "no field `_source`"),
        (posts({"fields": ["title"]}), "/datasets/0/fields", "nothing feeds `id`"),
        (posts({"constants": {"more": "x"}}), "/datasets/0/constants", "no field `more`"),
        (posts(drift="propagate"), "/drift", "documents of entities"),
        (out({"where": {"x": 1}}), "/datasets/0/where", "no field `x`"),
        (out({}, capture="pull"), "/capture", "`log`"),
    ],
)
def test_a_pipeline_names_entities_and_fields_that_are_declared(
    pipeline: dict[str, Any], pointer: str, told: str
) -> None:
    found = faults(WAREHOUSE, CRM, POSTS, pipeline)
    assert list(found) == [f"/documents/3{pointer}"]
    assert told in found[f"/documents/3{pointer}"]


def test_a_dataset_stands_for_the_table_of_its_entity() -> None:
    entity = parse_document(POSTS)
    assert isinstance(entity, EntityDocument)
    target = as_target(DatasetSpec("things", "posts"), entity, "api", fed=True, whole=True)
    assert (target.target, target.external, target.constants) == ("entity.posts", "_external_id", {"_source": "api"})
    assert target.fields == {"id": "id", "title": "title", "$record": "_raw"}
    assert as_target(DatasetSpec("public.p", "posts"), entity, "crm", fed=False, whole=False).fields is None
    source = as_source(DatasetSpec("posts", "public.p"), entity)
    assert (source.source, source.fields) == ("entity.posts", {"id": "id", "title": "title"})


def test_the_login_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DWH_DSN", "postgres://n%40s:p%2Fw@[::1]:5433/d%20w")
    get_settings.cache_clear()
    system = parse_document(WAREHOUSE)
    assert isinstance(system, WarehouseSystem)
    dsn, password = system.login()
    assert dsn == "postgresql://n%40s@[::1]:5433/d%20w"
    assert password is not None
    assert password.get_secret_value() == "p/w"
    assert system.resolve_place() == ("::1", 5433, "d w")
    get_settings.cache_clear()


def test_the_key_of_a_record_is_written_as_text_wherever_its_key_is() -> None:
    table = TargetTable('e."t"', ("id", "n"), ("bigint", "text"), (0,), True, "s", constants=(Constant("x", ""),))
    assert "values ($1::text::bigint, $2::text::text, ($1::text::bigint)::text)" in insert_row(table)
    assert 'do update set "n" = excluded."n", "x" = excluded."x"' in insert_row(table)
    assert '"x" = ($1::text::bigint)::text where' in update_row(table, [0, 1])
    assert '"x"' not in update_row(table, [1])
    page = upsert_page(table, ["id", "$record"], (0,), ())
    assert 'json_array_elements($1) as e(v) cross join lateral pg_catalog.json_to_record(e.v) as x("id" bigint)' in page
    assert '(select row(h."id", h."n", h."x")::record operator(pg_catalog.*=)' in page


def test_the_warehouse_is_prepared_as_any_other_target() -> None:
    migration = (ROOT / "db/dwh/migrations/20261122002000_position.sql").read_text()
    for part in ("prepare.sql", "twoway/prepare.sql"):
        assert (ROOT / "nms/connectors/postgres" / part).read_text() in migration
