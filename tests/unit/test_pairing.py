"""Source tables beside target tables: what travels, in which form, and what stands in the way."""

from typing import Any

import pytest

from nms.common.finding import Finding
from nms.common.flow import DatasetSpec
from nms.connectors.postgres.catalog import Table, TableColumn, TableKey
from nms.connectors.postgres.pairing import Pairing, narrows, pair

NAMES = ("billing", "crm")
ID, NAME = ("id", "bigint"), ("name", "text")


def column(name: str, full_type: str, **parts: Any) -> TableColumn:
    kind = full_type.partition("(")[0].strip() + full_type.partition(")")[2]
    given: dict[str, Any] = {
        "oid": 25, "required": False, "has_default": False, "generated": False, "identity": "", "collated": False,
        "portable": True, "held": full_type, "wire": kind, **parts,
    }  # fmt: skip
    return TableColumn(name=name, type=kind, full_type=full_type, **given)


def table(*columns: TableColumn | tuple[str, str], key: tuple[str, ...] = ("id",), identity: str = "d") -> Table:
    keys = [TableKey(key, primary=True, identity=False, required=True)] if key else []
    made = [one if isinstance(one, TableColumn) else column(*one, required=one[0] in key) for one in columns]
    return Table("public.t", 1, "public", "t", "r", identity, 0, 0, True, True, True, False, False, made, keys)


def paired(source: Table | None, target: Table | None, **parts: Any) -> Pairing:
    spec = DatasetSpec("public.t", "public.t", **parts)
    sources = {} if source is None else {"public.t": source}
    targets = {} if target is None else {"public.t": target}
    return pair([spec], sources, targets, NAMES)


def codes(pairing: Pairing) -> set[tuple[str, bool]]:
    return {(finding.code, finding.fatal) for finding in pairing.findings}


def only(pairing: Pairing) -> Finding:
    (finding,) = pairing.findings
    return finding


def test_equal_tables_pair_in_binary_form_in_the_order_of_the_source() -> None:
    made = paired(table(ID, NAME), table(NAME, ID))
    assert made.findings == []
    assert [left.name for left, _ in made.pairs[0].columns] == ["id", "name"]
    assert not made.text_form
    assert made.pairs[0].shape().key == (0,)


@pytest.mark.parametrize(
    ("left", "right", "ok"),
    [
        ("integer", "bigint", True), ("bigint", "integer", False), ("text", "character varying", True),
        ("json", "jsonb", True), ("jsonb", "json", False), ("date", "timestamp without time zone", True),
        ("timestamp without time zone", "timestamp with time zone", False), ("double precision", "real", False),
        ("uuid", "text", True), ("boolean", "integer", False), ("public.mood", "public.mood", True),
    ],
)  # fmt: skip
def test_only_conversions_that_lose_nothing_are_taken_and_they_travel_as_text(left: str, right: str, ok: bool) -> None:
    made = paired(table(ID, ("value", left)), table(ID, ("value", right)))
    assert codes(made) == (set() if ok else {("type-differs", True)})
    if not ok:
        assert only(made).pointer == "/datasets/0/fields"
        assert f"type {left} using" in only(made).sql
    elif left != right:
        assert made.text_form


@pytest.mark.parametrize(
    ("source", "target", "narrower"),
    [
        ("numeric", "numeric", False), ("numeric(12,4)", "numeric", False), ("numeric", "numeric(12,4)", True),
        ("numeric(12,4)", "numeric(12,2)", True), ("numeric(12,4)", "numeric(13,5)", False),
        ("numeric(10,2)", "numeric(12,4)", False), ("numeric(12,2)", "numeric(12,4)", True),
        ("integer", "numeric(10,0)", False), ("integer", "numeric(9,0)", True), ("bigint", "numeric(19,2)", True),
        ("character varying(9)", "character varying(9)", False), ("character varying", "character varying(9)", True),
        ("text", "character varying(9)", True), ("uuid", "character varying(36)", False),
        ("timestamp(3) without time zone", "timestamp(6) without time zone", False),
        ("timestamp without time zone", "timestamp(3) without time zone", True),
        ("date", "timestamp(0) without time zone", False), ("boolean", "boolean", False),
        ("interval", "interval year to month", True), ("interval hour", "interval hour", False),
        ("interval year to month", "interval", False), ("interval day to second(3)", "interval day to second(0)", True),
        ("interval day to second", "interval second", True), ("bit(5)", "bit(5)", False), ("bit(5)", "bit(8)", True),
        ("numeric(6,2)[]", "numeric(5,2)[]", True), ("numeric(3,-2)", "numeric(5,0)", False),
    ],
)  # fmt: skip
def test_a_type_that_holds_less_is_known(source: str, target: str, narrower: bool) -> None:
    assert narrows(source, target) is narrower


@pytest.mark.parametrize(
    ("left", "right", "fatal"),
    [("numeric(12,4)", "numeric(12,2)", True), ("character varying(20)", "character varying(9)", False)],
)
def test_silent_rounding_is_refused_and_a_shorter_text_is_noted(left: str, right: str, fatal: bool) -> None:
    finding = only(paired(table(ID, ("value", left)), table(ID, ("value", right))))
    assert (finding.code, finding.fatal, finding.system) == ("type-narrower", fatal, "crm")
    assert finding.sql == f'alter table "public"."t" alter column "value" type {left};'


def test_a_type_is_measured_beneath_its_domain() -> None:
    left, right = (column("v", "public.price", held=held) for held in ("numeric(10,2)", "numeric(9,2)"))
    finding = only(paired(table(ID, left), table(ID, right)))
    assert (finding.code, finding.fatal, finding.sql) == ("type-narrower", True, "")
    assert finding.remedy == "Widen public.price."


def test_values_travel_as_text_where_their_binary_form_is_made_of_other_things() -> None:
    assert not paired(table(ID, ("v", "interval")), table(ID, ("v", "interval"))).text_form
    assert paired(table(ID, ("v", "interval")), table(ID, column("v", "interval", wire="interval 17"))).text_form


def test_a_missing_table_is_told_on_its_side_with_the_sql_that_makes_the_target() -> None:
    absent = only(paired(None, table(ID)))
    assert (absent.code, absent.system, absent.pointer) == ("table-missing", "billing", "/datasets/0/source")
    absent = only(paired(table(ID, ("na me", "numeric(9,2)")), None))
    assert (absent.code, absent.system, absent.pointer) == ("table-missing", "crm", "/datasets/0/target")
    assert absent.sql == 'create table public.t ("id" bigint not null, "na me" numeric(9,2), primary key ("id"));'
    assert len(paired(None, None).findings) == 2


def test_a_column_that_the_target_lacks_is_refused_unless_the_fields_leave_it_out() -> None:
    assert codes(paired(table(ID, NAME), table(ID))) == {("column-left-out", True)}
    assert codes(paired(table(ID, NAME), table(ID), fields={"id": "id"})) == set()
    assert codes(paired(table(ID, NAME), table(ID), fields={"id": "id", "name": "name"})) == {("column-missing", True)}
    assert codes(paired(table(ID), table(ID), fields={"id": "id", "x": "id"})) == {("column-missing", True)}


def test_a_required_column_needs_something_that_feeds_it() -> None:
    assert codes(paired(table(ID), table(ID, column("kind", "text", required=True)))) == {("column-unfed", True)}
    for parts in ({"has_default": True}, {"generated": True}, {"identity": "d"}):
        assert codes(paired(table(ID), table(ID, column("kind", "text", required=True, **parts)))) == set()


def test_generated_columns_do_not_travel_and_are_not_written() -> None:
    made = paired(
        table(ID, column("sum", "bigint", generated=True)), table(ID, column("sum", "bigint", generated=True))
    )
    assert made.findings == []
    assert [left.name for left, _ in made.pairs[0].columns] == ["id"]
    fields = {"id": "id", "name": "sum"}
    aimed = paired(table(ID, NAME), table(ID, column("sum", "text", generated=True)), fields=fields)
    assert codes(aimed) == {("column-generated", True)}


def test_the_target_needs_a_unique_index_on_the_key_by_its_own_names() -> None:
    fields = {"id": "number", "name": "name"}
    target = table(("number", "bigint"), NAME, key=("number",))
    assert codes(paired(table(ID, NAME), target, fields=fields)) == set()
    finding = only(paired(table(ID, NAME), table(("number", "bigint"), NAME, key=()), fields=fields))
    assert (finding.code, finding.sql) == ("key-missing", 'create unique index on "public"."t" ("number");')
    assert codes(paired(table(ID, NAME), table(ID, NAME), fields={"name": "name"})) >= {("key-incomplete", True)}


@pytest.mark.parametrize("identity", ["d", "n", "f"])
def test_a_table_without_a_key_is_noted_and_travels_by_inserts(identity: str) -> None:
    made = paired(table(ID, key=(), identity=identity), table(ID))
    assert codes(made) == {("no-key", False)}
    assert only(made).remedy
    assert made.pairs[0].key == ()


def test_identity_nothing_is_noted_with_its_sql() -> None:
    finding = only(paired(table(ID, identity="n"), table(ID)))
    assert (finding.code, finding.fatal) == ("no-key", False)
    assert finding.sql == 'alter table "public"."t" replica identity default;'


def test_a_declared_key_must_be_in_the_log_unique_and_never_null() -> None:
    both = table(ID, NAME), table(ID, NAME, key=("name",))
    assert codes(paired(*both, key=("name",))) == {
        ("identity-differs", True), ("key-not-unique", True), ("key-nullable", True),
    }  # fmt: skip
    full = table(ID, column("name", "text", required=True), identity="f")
    full.keys.append(TableKey(("name",), primary=False, identity=False, required=True))
    assert codes(paired(full, both[1], key=("name",))) == set()
