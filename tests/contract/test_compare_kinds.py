"""Comparing rows of every shape: keys, collations, encodings, types that differ, references, unique values."""

from dataclasses import replace
from pathlib import Path

import pytest

from nms.connectors.postgres.connector import Access, DatasetSpec
from tests.conftest import MakeDatabase, MakeServer
from tests.contract.compared import apart, going, two
from tests.contract.pipelines import connect
from tests.services.postgres import PostgresServer

NASTY = ["", " ", "a\tb", "a\nb", "a\\b", r"\N", "\\\\", "'", '"', "Zoë", "straße", "\N{SNOWMAN}", "a,b", "(x)", "A"]
NASTY += ["a"]


async def test_nasty_and_composite_keys_and_nulls(make_database: MakeDatabase, tmp_path: Path) -> None:
    ddl = """
    create table "Nasty ""1" ("K e" text, n numeric, at timestamptz, ok boolean, c char(4), b bytea, v text,
                                  primary key ("K e", n, at, ok, c, b));
    """
    table = 'public."Nasty ""1"'
    async with apart(make_database, tmp_path, ddl, [table]) as both:
        sql = f"""insert into {table} select k, n / 3.0, now(), n > 0, 'x', convert_to(k, 'UTF8'), nullif(k, 'a')
                  from unnest($1::text[]) k, generate_series(-1, 1) n"""
        await both.source.execute(sql, NASTY)
        assert (await both.run(table))["compared"][table]["source"]["rows"] == 3 * len(NASTY)
        await both.target.execute(f"update {table} set v = 'other' where n >= 0")
        await both.source.execute(f"delete from {table} where ok")
        assert (await both.run(table))["compared"][table]["target"]["apart"] == 0


@pytest.mark.parametrize("server", ["15"], indirect=True)
async def test_collations_and_encodings_may_differ(server: PostgresServer, tmp_path: Path) -> None:
    left = await server.create_database("cmp_left")
    right = server.dsn("cmp_right")
    await server.execute("create database cmp_right owner nms template template0 encoding 'LATIN1' locale 'C'")
    ddl = "create table word (w text primary key, v varchar(20))"
    try:
        async with two((left, right), tmp_path, ddl, ["word"]) as both:
            await both.source.execute('alter table word alter w type text collate "en-x-icu"')
            words = [word for word in NASTY if word != "\N{SNOWMAN}"] + [f"wörd {n}" for n in range(3000)]
            await both.source.execute("insert into word select w, upper(w) from unnest($1::text[]) w", words)
            await both.run("word")
            await both.target.execute("update word set v = 'ß' where w like 'wörd 1%'")
            await both.target.execute("delete from word where w = 'Zoë'")
            await both.run("word")
    finally:
        await server.drop_database("cmp_left")
        await server.drop_database("cmp_right")


WIDER = """
create table wide (
    id integer primary key, r real, i smallint, n numeric(6, 2), c char(3),
    v varchar(10), d date, u uuid, j json, t time(0)
);
"""
WIDEN = """
alter table wide alter id type bigint, alter r type double precision using r::text::double precision,
    alter i type numeric, alter n type numeric(12, 4), alter c type char(6), alter v type text,
    alter d type timestamp, alter u type text, alter j type jsonb, alter t type time(6)
"""


async def test_a_wider_target_is_equal_when_it_holds_the_same_values(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with apart(make_database, tmp_path, WIDER, ["wide"]) as both:
        await both.target.execute(WIDEN)
        await both.source.execute(
            """insert into wide select n, 0.1 * n, n, n / 8.0, 'ab', 'v' || n, date '2026-01-01' + n,
               md5(n::text)::uuid, '{"b": 1,  "a": 2}', '12:00' from generate_series(1, 300) n"""
        )
        async with going(both.spec) as rounds:
            await rounds.pass_round()
            assert sum(len(batch.small or ()) for batch in rounds.batches) == 300
            await both.source.execute("update wide set r = 0.3, n = 1.1 where id = 5; delete from wide where id = 6")
            await both.target.execute("insert into wide (id) values (1000000000000)")
            # The first had begun, the second mends, the third finds nothing.
            facts = await rounds.pass_round(3)
            assert sum(len(batch.small or ()) for batch in rounds.batches) == 303
        assert facts["compared"]["public.wide"]["target"]["apart"] == 0
        (row,) = await both.target.fetch("select r, n, c, j::text from wide where id = 5")
        assert (row["r"], str(row["n"]), row["c"], row["j"]) == (0.3, "1.1000", "ab    ", '{"a": 2, "b": 1}')


async def test_keys_that_are_equal_and_read_differently_end_alike(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with apart(make_database, tmp_path, "create table num (n numeric primary key, v text)", ["num"]) as both:
        await both.source.execute("insert into num values (1.00, 'a'), (2.0, 'b'), (3, 'c')")
        await both.target.execute("insert into num values (1.0, 'a'), (2.0, 'x'), (4.00, 'd')")
        await both.run("num")


TREE = """
create table parent (id integer primary key, mail text unique);
create table child (id integer primary key, parent integer not null references parent{0}, up integer references child);
"""


@pytest.mark.parametrize("action", ["", " on delete cascade"])
async def test_parents_and_children_find_each_other(make_database: MakeDatabase, tmp_path: Path, action: str) -> None:
    async with apart(make_database, tmp_path, TREE.format(action), ["child", "parent"]) as both:
        fill = "insert into parent select n, 'm' || n from generate_series({0}, {1}) n"
        await both.source.execute(fill.format(1, 200))
        await both.target.execute(fill.format(150, 350))
        child = "insert into child select n, n, case when n % 6 > 1 then n - 1 end from generate_series({0}, {1}) n"
        await both.source.execute(child.format(1, 200) + " order by n")
        await both.target.execute(child.format(150, 350) + " order by n")
        # Chains of references and of unique values, so that no order of keys is right at once.
        await both.source.execute("update child set parent = 201 - parent; update parent set mail = 'm' || -id")
        await both.target.execute(
            "update parent set mail = 'm' || case when id % 5 = 0 then 9000 + id else -id - 1 end"
        )
        await both.run("parent", "child")


async def test_columns_with_other_names_and_those_left_out(make_database: MakeDatabase, tmp_path: Path) -> None:
    ddl = "create table a (id integer primary key, v text, own text)"
    spec = DatasetSpec("public.a", "public.b", {"id": "nr", "v": "w"})
    async with apart(make_database, tmp_path, ddl, [spec]) as both:
        await both.target.execute("create table b (nr integer primary key, w text, own text default 'kept')")
        await both.source.execute("insert into a select n, 'v' || n, 'mine' from generate_series(1, 10) n")
        await both.target.execute("insert into b values (1, 'old', 'theirs'), (11, 'extra', '')")
        async with going(both.spec) as rounds:
            await rounds.pass_round()
        rows = [tuple(row) for row in await both.target.fetch("select * from b order by 1")]
        assert rows == [(1, "v1", "theirs"), *((n, f"v{n}", "kept") for n in range(2, 11))]


async def test_partitions_and_inheritance(make_database: MakeDatabase, tmp_path: Path) -> None:
    ddl = """
    create table part (id integer, region text, v text, primary key (id, region)) partition by list (region);
    create table part_a partition of part for values in ('a'); create table part_b partition of part default;
    create table base (id integer primary key, v text); create table heir (extra text) inherits (base);
    """
    async with apart(make_database, tmp_path, ddl, ["part", "base"]) as both:
        sql = "insert into part select n, case when n % 2 = 0 then 'a' else 'b' end, 'v' from generate_series(1, 100) n"
        await both.source.execute(sql)
        await both.source.execute("insert into base values (1, 'a')")
        await both.target.execute(sql)
        await both.target.execute("insert into heir values (7, 'not ours'); update part set v = 'x' where id < 20")
        await both.target.execute("delete from part where id = 50; insert into part values (101, 'c', 'v')")
        async with going(both.spec) as rounds:
            await rounds.pass_round()
            assert not rounds.refused
        await both.equal("part", "only base")
        assert await both.target.fetchval("select count(*) from heir") == 1


async def test_a_table_without_a_key_is_refused_by_name(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with apart(make_database, tmp_path, "create table loose (v text)", ["loose"]) as both:
        with pytest.raises(Exception, match="has no key by which both sides could be compared"):
            await both.run("loose")


async def test_a_source_that_only_lets_itself_be_read_is_enough(make_server: MakeServer, tmp_path: Path) -> None:
    server = await make_server("16", durable=False, settings={"wal_level": "minimal", "max_wal_senders": "0"})
    ends = (await server.create_database("left_side"), await server.create_database("right_side"))
    async with two(ends, tmp_path, "create table item (id integer primary key, v text)", ["item"]) as both:
        await both.source.execute("insert into item select n, 'v' from generate_series(1, 100) n")
        boss = await connect(server.superuser_dsn("left_side"))
        try:
            await boss.execute("create role reader login password 'pw'; grant select on item to reader")
        finally:
            await boss.close()
        login = Access("left", both.spec.source.dsn.replace("nms:pw-for-tests", "reader:pw"))
        both.spec = replace(both.spec, source=login)
        await both.run("item")
