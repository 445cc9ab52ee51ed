"""Tables that change in the middle: of a transaction, of a copy, of a life of the worker; and what an operator sees."""

from pathlib import Path

import pytest

from nms.common.condition import Condition
from nms.common.flow import DatasetSpec
from nms.common.settings import Settings
from nms.connectors.postgres.snapshot import Chunk
from tests.contract.pipelines import MakeDatabase, Pipe, gate, lay
from tests.service.stage import Stage, pipeline
from tests.waiting import eventually

DDL = "create table item (id int primary key, name text); create table other (id int primary key, name text);"
IN_ONE = """
begin;
update item set name = 'before' where id = 1;
savepoint kept;
alter table item add column wrong int default 3;
update item set wrong = 4 where id = 2;
rollback to savepoint kept;
alter table item add column note text default 'older';
update item set note = 'newer' where id = 3;
insert into item select n, 'many', repeat('x', 300) from generate_series(1001, {}) n;
alter table item add column late int;
update item set late = 1 where id = 4;
commit;
"""


async def each_once(pipe: Pipe) -> None:
    """Take batches one at a time, each in a life of its own that ends right behind it."""
    mark = await pipe.source.fetchval("select pg_current_wal_lsn()::text")
    while pipe.place == 0 or not await pipe.target.fetchval(
        "select (position ->> 'lsn')::pg_lsn >= $1::text::pg_lsn from nms.position", mark
    ):
        async with pipe.steps() as steps:
            batch = await steps.next()
            while not (batch.small is None or batch.small or batch.load or batch.keep):
                batch = await steps.next()
            await steps.apply(batch)


async def test_a_table_that_changes_within_a_transaction_is_read_by_each_of_its_shapes(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, DDL, ["item", "other"], drift="propagate") as pipe:
        await pipe.source.execute("insert into item select n, 'name' from generate_series(1, 1000) n")
        await pipe.run("item")
        await pipe.source.execute(IN_ONE.format(2000))
        async with pipe.moves():
            await pipe.catch_up()
        await pipe.compare("item")
        await pipe.source.execute("alter table item drop column late; alter table item add column wrong int default 3")
        await pipe.target.execute("alter table item drop column late")
        await pipe.source.execute("update item set wrong = 5 where id < 5")
        async with pipe.moves() as opened:
            await pipe.catch_up()
            assert opened.facts()["paused"] == {}
        await pipe.compare("item")


async def test_a_table_that_changes_while_it_is_copied_arrives_as_it_is(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, DDL, ["item", "other"], drift="propagate") as pipe:
        for end in (pipe.source, pipe.target):
            await end.execute("alter table item alter column id type bigint; alter table item alter column id type int")
        await pipe.source.execute("insert into item select n, 'name' from generate_series(1, 30000) n")
        async with pipe.moves() as opened:
            for number, definition in enumerate(["a int default 7", "b float8 default random()", "c text"]):
                await pipe.source.execute(f"alter table item add column {definition}")
                await pipe.source.execute(f"update item set name = 'moved' where id % 1000 = {number}")
            await pipe.catch_up()
            assert opened.facts()["paused"] == {}
        await pipe.compare("item")


async def test_columns_that_come_one_by_one_while_another_table_is_copied_are_all_there_for_the_first_change(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log tells the first column before changes of the table count, and of none of the table with it alone."""
    async with lay(make_database, tmp_path, DDL, ["other", "item"], drift="propagate") as pipe:
        fill = "insert into item select n, 'name' from generate_series(1, 10) n; insert into other values (1, 'one')"
        await pipe.source.execute(fill)

        beside = await pipe.connect()
        columns = ["a int default 7", "b text"]

        async def between(chunk: Chunk) -> None:
            while chunk.dataset.name == "public.other" and columns:
                await beside.execute(f"alter table item add column {columns.pop(0)}")
                if columns:
                    await beside.execute("update item set name = 'moved' where id = 1")

        async with gate(monkeypatch, between):
            await pipe.run("item", "other")
        await beside.close()
        assert columns == []


async def test_columns_that_come_with_changes_outside_of_the_filter_are_there_for_the_first_within(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    item = DatasetSpec("public.item", "public.item", where=(Condition("id", "lt", ("5",)),))
    async with lay(make_database, tmp_path, DDL, [item, "other"], drift="propagate") as pipe:
        await pipe.source.execute("alter table item replica identity full")
        await pipe.source.execute("insert into item select n, 'name' from generate_series(1, 10) n")
        async with pipe.moves() as opened:
            await pipe.catch_up()
            for number, definition in ((9, "a int default 7"), (8, "b text"), (1, "c int")):
                await pipe.source.execute(f"alter table item add column {definition}")
                await pipe.source.execute(f"update item set name = 'moved' where id = {number}")
            await pipe.catch_up()
            assert opened.facts()["paused"] == {}
        await pipe.compare("(select * from item where id < 5)")


async def test_changes_of_tables_survive_a_life_that_ends_behind_each_commit(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, DDL, ["item", "other"], drift="propagate") as pipe:
        await pipe.source.execute("insert into item select n, 'name' from generate_series(1, 10) n")
        await pipe.run("item")
        for number, definition in enumerate(["a int default 7", "b float8 default random()"], 1):
            await pipe.source.execute(f"update item set name = 'moved {number}' where id = {number}")
            await pipe.source.execute(f"alter table item add column {definition}")
            await pipe.source.execute(f"update item set name = 'moved again' where id = {number}")
        await pipe.source.execute("alter table other rename column name to title; insert into other values (1, 'one')")
        await each_once(pipe)
        async with pipe.moves() as opened:
            await pipe.catch_up()
            assert set(opened.facts()["paused"]) == {"public.other"}
        await pipe.compare("item")
        await pipe.target.execute("alter table other rename column name to title")
        await each_once(pipe)
        async with pipe.moves() as opened:
            await pipe.catch_up()
            assert opened.facts()["paused"] == {}
        await pipe.compare("item", "other")


async def test_an_operator_sees_a_paused_table_with_its_statement_and_resumes_it(
    settings: Settings, make_database: MakeDatabase
) -> None:
    stage = await Stage.set(settings, await make_database(), await make_database())
    for side in ("source", "target"):
        await stage.at(side, "create table public.other (id bigint primary key, name text not null)")
    await stage.at("source", "insert into public.item values (1, 'one')")
    await stage.apply(*stage.systems(), pipeline("items", "public.item", "public.other"))
    async with stage.working():
        await stage.reach("streaming")
        await stage.at("source", "alter table public.item rename column name to title")
        await stage.at("source", "insert into public.item values (2, 'two')")

        async def told() -> bool:
            return "public.item" in (await stage.get()).left_out

        await eventually(told)
        sql = 'alter table "public"."item" rename column "name" to "title";'
        assert sql in (await stage.nms("doctor", "items")).stdout
        shown = await stage.nms("pipelines", "items")
        assert "public.item is paused" in shown.stdout
        assert "rename column" in shown.stdout
        await stage.at("source", "insert into public.other values (1, 'goes on')")
        await stage.arrive("select id from public.other", [1])
        await stage.at("target", sql)
        assert (await stage.nms("resume", "items")).exit_code == 0
        await stage.arrive("select title from public.item order by id", ["one", "two"])
        await stage.reach("streaming")
        assert (await stage.get()).left_out == {}
