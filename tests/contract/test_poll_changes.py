"""The change log of a poll: deletes, emptied tables, moved keys, whoever writes and however much; removed cleanly."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from nms.common.condition import Condition
from nms.common.problem import Problem
from nms.connectors.postgres.connector import release_source
from nms.connectors.postgres.poll import source as poll_source
from nms.connectors.postgres.poll.prepare import forget, prepare_source
from tests.contract.pipelines import dataset, rows_of
from tests.contract.polls import MakeDatabase, Pipe, Rounds, lay_poll, polling
from tests.waiting import eventually

TREE = """
create table a (id int primary key, v text);
create table b (id int primary key, a int references a on delete cascade on update cascade);
"""
PARTED = """
create table p (id int, day int, v text, primary key (day, id)) partition by range (day);
create table p1 partition of p for values from (1) to (10);
"""
TRIGGERS = "select count(*) from pg_trigger where tgname like 'nms\\_%'"


async def same(pipe: Pipe, rounds: Rounds, *tables: str) -> int:
    """One round; both ends are equal then, deletes too."""
    found = await rounds.once()
    for table in tables:
        assert await rows_of(pipe.target, table) == await rows_of(pipe.source, table), table
    return found


async def test_deletes_cascades_and_moved_keys_travel(make_database: MakeDatabase, tmp_path: Path) -> None:
    names = [dataset("b"), dataset("a")]
    async with lay_poll(make_database, tmp_path, "log", TREE, datasets=names) as pipe:
        await pipe.source.execute("insert into a select n, 'x' from generate_series(1, 300) n")
        await pipe.source.execute("insert into b select n, n from generate_series(1, 300) n")
        async with polling(pipe) as rounds:
            await same(pipe, rounds, "a", "b")
            await pipe.source.execute("delete from a where id <= 20; insert into a values (1, 'back')")
            assert await same(pipe, rounds, "a", "b") < 60
            await pipe.source.execute("update a set id = id + 1000 where id between 30 and 40")
            await same(pipe, rounds, "a", "b")
            await pipe.source.execute("begin; delete from b; delete from a; rollback")
            assert await same(pipe, rounds, "a", "b") == 0
            await pipe.source.execute("truncate a, b; insert into a values (7, 'new'); insert into b values (7, 7)")
            await same(pipe, rounds, "a", "b")


async def test_a_partitioned_table_is_noted_through_its_root_and_its_partitions(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, "log", PARTED, datasets=[dataset("p")]) as pipe:
        await pipe.target.execute("create table p2 partition of p for values from (10) to (90)")
        await pipe.source.execute("insert into p select n, 1 + n % 9, 'x' from generate_series(1, 300) n")
        async with polling(pipe) as rounds:
            await same(pipe, rounds, "p")
            await pipe.source.execute("insert into p1 values (1000, 2, 'direct'); delete from p1 where id = 5")
            await pipe.source.execute("delete from p where id = 6; update p set v = 'y' where id = 7")
            await same(pipe, rounds, "p")
            await pipe.source.execute("create table p2 (id int not null, day int not null, v text)")
            await pipe.source.execute("insert into p2 select n, 11, 'there' from generate_series(1, 50) n")
            await rounds.once()
            await pipe.source.execute("alter table p attach partition p2 for values from (10) to (20)")
            await same(pipe, rounds, "p")
            await pipe.source.execute("insert into p2 values (99, 12, 'direct'); update p set day = 12 where id = 208")
            await same(pipe, rounds, "p")
        await prepare_source(pipe.spec)
        async with polling(pipe) as rounds:
            assert rounds.opened.cause is None
            await same(pipe, rounds, "p")
            await pipe.source.execute("delete from p2 where id = 99")
            assert await same(pipe, rounds, "p") == 1


async def test_a_partition_emptied_alone_takes_its_own_rows_only(make_database: MakeDatabase, tmp_path: Path) -> None:
    two = PARTED + "create table p2 partition of p for values from (10) to (20);"
    async with lay_poll(make_database, tmp_path, "log", two, datasets=[dataset("p")]) as pipe:
        await pipe.source.execute("insert into p select n, 1 + n % 19, 'x' from generate_series(1, 100) n")
        async with polling(pipe) as rounds:
            await same(pipe, rounds, "p")
            await pipe.source.execute("truncate p1; insert into p1 values (500, 1, 'after')")
            await same(pipe, rounds, "p")
            assert len(await rows_of(pipe.target, "p")) > 1
            await pipe.source.execute("truncate p; insert into p values (501, 11, 'after')")
            assert await same(pipe, rounds, "p") == 2


async def test_a_row_that_leaves_the_filter_leaves_the_target_from_partitions_without_triggers_too(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    spec = replace(dataset("p"), where=(Condition("v", "eq", ("x",)),))
    async with lay_poll(make_database, tmp_path, "log", PARTED, datasets=[spec]) as pipe:
        for end in (pipe.source, pipe.target):
            await end.execute("create table p2 partition of p for values from (10) to (90)")
        async with polling(pipe) as rounds:
            await pipe.source.execute("insert into p values (1, 2, 'x'), (2, 25, 'x'), (3, 26, 'x')")
            await same(pipe, rounds, "p")
            await pipe.source.execute("update p2 set v = 'out' where id = 2")
            await rounds.once()
            assert await rows_of(pipe.target, "p") == ["(1,2,x)", "(3,26,x)"]
            await pipe.source.execute("update p set v = 'out'")
            await rounds.once()
            assert await rows_of(pipe.target, "p") == []


async def test_a_hundred_thousand_rows_of_one_statement_are_noted(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "log") as pipe:
        async with polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute("insert into t (id, v) select n, 'x' from generate_series(1, 100000) n")
            assert await rounds.once() == 100_000
            await pipe.source.execute("delete from t where id > 90000")
            assert await rounds.once() == 10_000
        ids = "(select id, v from t)"
        assert await rows_of(pipe.target, ids) == await rows_of(pipe.source, ids)


async def test_what_is_durable_is_pruned_and_what_another_pipeline_needs_is_kept(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_source, "CONFIRM_SECONDS", 0.0)
    async with lay_poll(make_database, tmp_path, "log") as pipe:
        other = replace(pipe.spec, name="other")
        await prepare_source(other)
        async with polling(pipe) as rounds:
            for at in range(3):
                await rounds.once()
                await pipe.source.execute(f"insert into t (id, v) values ({at}, 'x')")
            await rounds.once()
            assert await pipe.source.fetchval("select count(*) from nms.change") == 3
            await forget(other)
            ids = itertools.count(9)

            async def pruned() -> bool:
                # A transaction of any other database holds the server's horizon back while it lasts.
                await pipe.source.execute(f"insert into t (id, v) values ({next(ids)}, 'x')")
                await rounds.once()
                return bool(await pipe.source.fetchval("select count(*) from nms.change") <= 1)

            await eventually(pruned)
        assert await pipe.source.fetchval(TRIGGERS) == 4
        await release_source(pipe.spec)
        assert await pipe.source.fetchval(TRIGGERS) == 0
        assert not await pipe.source.fetchval("select count(*) from pg_namespace where nspname = 'nms'")


async def test_a_writer_without_rights_on_the_change_log_writes_and_is_noted(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, "log") as pipe, polling(pipe) as rounds:
        await rounds.once()
        await pipe.source.execute("grant usage on schema public to public; grant all on t to public")
        stranger = await pipe.connect()
        await stranger.execute("set role pg_monitor; set datestyle = 'SQL, DMY'; set search_path = public")
        await stranger.execute("insert into t (id, v) values (1, 'stranger')")
        await stranger.close()
        assert await rounds.once() == 1
        await pipe.source.execute("alter table t rename id to key; insert into t (key, v) values (2, 'renamed')")
        with pytest.raises(Problem) as raised:
            await rounds.once()
        assert raised.value.code == "schema-changed"


async def test_a_table_that_others_write_through_is_refused(make_database: MakeDatabase, tmp_path: Path) -> None:
    heir = "create table t (id int primary key, v text); create table parent (id int, v text);"
    async with lay_poll(make_database, tmp_path, "log", heir) as pipe:
        async with polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute("alter table t inherit parent")
            with pytest.raises(Problem) as raised:
                await rounds.once()
            assert raised.value.code == "tables-changed"
        with pytest.raises(Problem, match="inherits from another table") as raised:
            async with polling(pipe):
                pass
        assert raised.value.code == "not-prepared"
        pipe.spec = replace(pipe.spec, change_log=False)
        async with polling(pipe) as rounds:
            await pipe.source.execute("insert into t values (1, 'old'); update parent set v = 'new'")
            await same(pipe, rounds, "t")


async def test_triggers_that_were_away_for_a_while_bring_a_copy(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "log") as pipe:
        await pipe.source.execute("insert into t (id, v) select n, 'x' from generate_series(1, 50) n")
        async with polling(pipe) as rounds:
            await rounds.once()
            await forget(pipe.spec)
            with pytest.raises(Problem) as raised:
                await rounds.once()
            assert raised.value.code in ("tables-changed", "schema-changed")
        await pipe.source.execute("delete from t where id < 10")
        await prepare_source(pipe.spec)
        async with polling(pipe) as rounds:
            await rounds.once()
            assert rounds.opened.cause is not None
        ids = "(select id, v from t)"
        assert await rows_of(pipe.target, ids) == await rows_of(pipe.source, ids)
