"""Columns by list and by other names, constants and casts arrive as the mapping says, by copy and by log."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nms.common.condition import conditions_of
from nms.common.flow import DatasetSpec
from nms.connectors.postgres.preflight import check
from tests.contract.pipelines import Connection, MakeDatabase, Pipe, lay

SOURCE = """
create table t (id int primary key, name text, amount text, ok boolean, big text, secret text not null default 's');
alter table t alter big set storage external
"""
TARGET = """
create table u (number bigint primary key, title text, total integer, yes smallint, big text,
    origin text not null, noted date, none int default 5)
"""
FIELDS = {"id": "number", "name": "title", "big": "big"}
CONSTANTS = {"origin": "bil'ling", "noted": "2026-11-21", "none": None}


async def titles(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch("select * from u order by number")]


@pytest.mark.parametrize("form", ["binary", "text"])
async def test_columns_constants_and_casts_travel_by_copy_and_by_log(
    make_database: MakeDatabase, tmp_path: Path, form: str
) -> None:
    casts = {"amount": "integer", "ok": "smallint"} if form == "text" else None
    fields = FIELDS | ({"amount": "total", "ok": "yes"} if form == "text" else {})
    spec = DatasetSpec("public.t", "public.u", fields, constants=CONSTANTS, casts=casts)
    async with lay(make_database, tmp_path, SOURCE + ";" + TARGET, [spec]) as pipe:
        if form == "binary":
            await pipe.target.execute("alter table u alter number type int")
        await pipe.source.execute("insert into t values (1, 'a', '10', true, 'x'), (2, null, null, null, null)")
        async with pipe.moves() as opened:
            assert opened.text_form is (form == "text")
            await pipe.catch_up()
            await pipe.source.execute(
                "insert into t select n, 'n', n, false, repeat('b', 9000) from generate_series(3, 500) n"
            )
            await pipe.source.execute("update t set name = 'new' where id = 3; update t set id = -1 where id = 2")
            await pipe.source.execute("update t set id = -4, amount = ' 44 ' where id = 4; delete from t where id > 4")
            await pipe.catch_up()
        rest = ("bil'ling", await pipe.target.fetchval("select '2026-11-21'::date"), None)
        casted = [(44, 0), (None, None), (10, 1), (3, 0)] if form == "text" else [(None, None)] * 4
        texts = [(-4, "n", "b" * 9000), (-1, None, None), (1, "a", "x"), (3, "new", "b" * 9000)]
        expected = [(key, name, *cast, big, *rest) for (key, name, big), cast in zip(texts, casted, strict=True)]
        assert await titles(pipe.target) == expected


KEYED = (
    "create table t (id int primary key, v int); create table u (origin text, id int, v int, primary key (origin, id))"
)


def keyed(origin: str) -> DatasetSpec:
    return DatasetSpec("public.t", "public.u", {"id": "id", "v": "v"}, constants={"origin": origin})


async def again(pipe: Pipe) -> None:
    """Copy everything anew."""
    pipe.spec = replace(pipe.spec, generation=pipe.spec.generation + 1)
    async with pipe.moves():
        await pipe.catch_up()


async def test_sources_share_a_table_told_apart_by_a_constant(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with (
        lay(make_database, tmp_path / "one", KEYED, [keyed("one")], shared=True) as one,
        lay(make_database, tmp_path / "two", KEYED, [keyed("two")], shared=True) as two,
    ):
        two.spec = replace(two.spec, target=one.spec.target)
        for pipe in (one, two):
            await pipe.source.execute("insert into t select n, n from generate_series(1, 600) n")
            async with pipe.moves():
                await pipe.catch_up()
        await one.target.execute(
            "insert into u values ('one', 601, 0), ('other', 1, 1); update u set v = 0 where id = 5"
        )
        async with one.moves():
            await one.source.execute("delete from t where id <= 500; update t set v = -1 where id = 510")
            await one.source.execute("update t set id = -1 where id = 511; insert into t values (1, 7)")
            await one.catch_up()
        await again(one)
        left = "select origin, count(*), sum(v) from u group by 1 order by 1"
        expected = [("one", 101, 55050 - 510 - 1 + 7), ("other", 1, 1), ("two", 600, 180300 - 5)]
        assert [tuple(row) for row in await one.target.fetch(left)] == expected
        async with one.moves():
            await one.source.execute("truncate t")
            await one.catch_up()
        assert [tuple(row) for row in await one.target.fetch(left)] == expected[1:]


async def test_a_copy_anew_removes_of_a_shared_table_only_what_its_filter_lets_in(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    ddl = "create table t (id int primary key, kind int); alter table t replica identity full"
    spec = DatasetSpec("public.t", "public.t", where=conditions_of({"kind": 1}))
    for shared, expected in ((True, [(1, 1), (2, 2), (4, None)]), (False, [(1, 1)])):
        async with lay(make_database, tmp_path / str(shared), ddl, [spec], shared=shared) as pipe:
            await pipe.source.execute("insert into t values (1, 1), (2, 2)")
            async with pipe.moves():
                await pipe.catch_up()
            await pipe.target.execute("insert into t values (2, 2), (3, 1), (4, null)")
            await again(pipe)
            found = await pipe.target.fetch("select * from t order by 1")
            assert [tuple(row) for row in found] == expected


CHECKED = """
create type mood as enum ('sad', 'ok');
create table t (id int primary key, name text , plain text collate "C", mood mood, at timestamptz,
    doc jsonb, n int, twice int generated always as (n * 2) stored, short varchar(3));
create table full_t (like t including all); alter table full_t replica identity full;
create table small (id int primary key, n int)
"""


def case(table: str, where: dict[str, Any], **parts: Any) -> DatasetSpec:
    return DatasetSpec(f"public.{table}", f"public.{table}", where=conditions_of(where), **parts)


CASES: list[tuple[DatasetSpec, set[tuple[str, bool]]]] = [
    (case("full_t", {"name": "x", "plain": {"gt": "a"}, "mood": "ok", "doc": None, "at": {"lt": "2026-01-01"}}), set()),
    (case("full_t", {"nmae": "x"}), {("filter-column", True)}),
    (case("full_t", {"twice": 4}), {("filter-column", True)}),
    (case("full_t", {"name": {"gt": "x"}}), {("filter-type", True)}),
    (case("full_t", {"mood": {"gt": "sad"}}), {("filter-type", True)}),
    (case("full_t", {"doc": "{}"}), {("filter-type", True)}),
    (case("full_t", {"n": "ten"}), {("filter-value", True)}),
    (case("full_t", {"n": 10.5}), {("filter-value", True)}),
    (case("full_t", {"mood": "great"}), {("filter-value", True)}),
    (case("full_t", {"at": {"gt": "now"}}), {("filter-value", True)}),
    (case("t", {"n": 1}), {("filter-identity", True)}),
    (case("t", {"id": {"gt": 5}}), {("filter-identity", False)}),
    (case("small", {"n": 1}), {("filter-identity", False)}),
    (case("small", {"id": [1, 2]}), set()),
    (case("small", {}, fields={"id": "id"}, constants={"n": "x"}), {("constant-value", True)}),
    (case("small", {}, fields={"id": "id"}, constants={"m": "1"}), {("constant-value", True)}),
    (case("small", {}, constants={"n": "1"}), set()),
    (case("full_t", {}, fields={"id": "id"}, constants={"short": "long"}), {("constant-value", True)}),
    (case("full_t", {}, fields={"id": "id"}, constants={"twice": "1"}), {("constant-value", True)}),
    (case("full_t", {}, fields={"id": "id", "plain": "n"}), {("type-differs", True)}),
    (case("full_t", {}, fields={"id": "id", "plain": "n"}, casts={"plain": "integer"}), set()),
    (case("full_t", {}, fields={"id": "id", "plain": "n"}, casts={"plain": "date"}), {("type-differs", True)}),
    (case("full_t", {}, fields={"id": "id"}, casts={"plain": "date"}), {("column-missing", True)}),
]


async def test_what_a_mapping_cannot_mean_is_found_before_anything_starts(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, CHECKED, ["small"]) as pipe:
        for dataset, expected in CASES:
            found = await check(replace(pipe.spec, datasets=(dataset,)))
            assert {(one.code, one.fatal) for one in found} == expected, dataset
            for one in found:
                assert one.pointer.startswith("/datasets/0/"), one
                assert one.sql or one.remedy, one
        ignoring = replace(pipe.spec, datasets=(case("small", {"n": 1}),), heals=False)
        assert [(one.code, one.fatal) for one in await check(ignoring)] == [("filter-identity", True)]


async def test_another_filter_is_found_and_takes_effect_by_a_copy_anew(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    ddl = "create table t (id int primary key, kind int); alter table t replica identity full"
    async with lay(make_database, tmp_path, ddl, ["t"]) as pipe:
        await pipe.source.execute("insert into t select n, n % 3 from generate_series(1, 30) n")
        async with pipe.moves():
            await pipe.catch_up()
            await pipe.source.execute("insert into t values (31, 1)")
            await pipe.catch_up()
        for kind, number in ((1, 11), (2, 10)):
            pipe.spec = replace(pipe.spec, datasets=(case("t", {"kind": kind}),))
            assert [(one.code, one.fatal) for one in await check(pipe.spec)] == [("filter-changed", True)]
            await again(pipe)
            assert await pipe.target.fetchval("select count(*) from t") == number
            assert await check(pipe.spec) == []
        await pipe.source.execute("insert into t values (32, 2), (33, 1)")
        await again(pipe)
        assert await pipe.target.fetchval("select count(*) from t where kind = 2") == 11
