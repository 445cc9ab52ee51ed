"""The first round of a poll: a copy in chunks beside writers that a kill sets back by one chunk, parents first."""

import asyncio
from pathlib import Path

import pytest

from nms.connectors.postgres.poll import round as poll_round
from nms.connectors.postgres.poll import source as poll_source
from tests.contract.pipelines import dataset, rows_of
from tests.contract.polls import WAYS, MakeDatabase, check, lay_poll, polling

TREE = """
create table a (id int primary key, v text);
create table b (id int primary key, a int not null references a, v text);
"""
FILL = """
insert into a select n, 'x' from generate_series(1, 400) n;
insert into b select n, n, 'x' from generate_series(1, 400) n
"""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks, and a new snapshot for each."""
    for name in ("FIRST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(poll_round, name, 40)
    for name in ("SEGMENT_SECONDS", "_ROUNDS_PER_SEGMENT"):
        monkeypatch.setattr(poll_source, name, 0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_kill_in_the_middle_of_the_copy_repeats_at_most_one_chunk(
    way: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, way) as pipe:
        await pipe.source.execute("insert into t (id, v) select n, 'old' from generate_series(1, 400) n")
        copied = lives = 0
        done = False
        while not done:
            lives += 1
            async with polling(pipe) as rounds:
                loads = 0
                while loads < 3 and not done:
                    batch = await rounds.next()
                    await rounds.apply(batch)
                    loads += batch.load is not None
                    done = "tables" not in batch.position
                copied += rounds.copied
            for key in (lives, 400 - lives, 1000 + lives):
                sql = "insert into t (id, v) values ($1, $2) on conflict (id) do update set v = excluded.v"
                await pipe.source.execute(sql, key, f"life {lives}")
            if way == "log":
                await pipe.source.execute("delete from t where id in ($1, $2)", 200 - lives, 300 + lives)
        assert lives > 3
        assert copied <= 400 + 3 * lives
        async with polling(pipe) as rounds:
            await rounds.once()
        await check(pipe)


async def test_children_written_during_the_copy_find_their_parents(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "scan", TREE, datasets=[dataset("b"), dataset("a")]) as pipe:
        await pipe.source.execute(FILL)
        async with polling(pipe) as rounds:
            number, copying = 1000, True
            while copying:
                number += 1
                await pipe.source.execute(f"insert into a values ({number}, 'new'), ({-number}, 'new')")
                await pipe.source.execute(
                    f"insert into b values ({number}, {number}, 'new'), ({-number}, {-number}, 'new')"
                )
                await pipe.source.execute(f"update b set a = {number} where id = {number % 400}")
                batch = await rounds.next()
                await rounds.apply(batch)
                copying = "tables" in batch.position
            rounds.begun = True
            await rounds.once()
        await check(pipe, ("a", "b"), "*")


async def test_a_round_is_one_state_of_all_tables(make_database: MakeDatabase, tmp_path: Path) -> None:
    ddl = "create table a (id int primary key, n int); create table b (id int primary key, n int);"
    async with lay_poll(make_database, tmp_path, "scan", ddl, datasets=[dataset("a"), dataset("b")]) as pipe:
        await pipe.source.execute("insert into a values (1, 0); insert into b values (1, 0)")
        writer = await pipe.connect()

        async def write() -> None:
            for n in range(200):
                await writer.execute(f"begin; update a set n = {n}; update b set n = {n}; commit")

        writing = asyncio.create_task(write())
        async with polling(pipe) as rounds:
            while not writing.done():
                await rounds.once()
                both = await pipe.target.fetch("select n from a union select n from b")
                assert len(both) == 1
            await writing
            await rounds.once()
        await writer.close()
        assert await rows_of(pipe.target, "a") == await rows_of(pipe.source, "a")


async def test_a_target_that_takes_its_time_does_not_hold_the_snapshot_of_the_source(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, "scan") as pipe:
        await pipe.source.execute("insert into t (id, v) select n, 'old' from generate_series(1, 400) n")
        async with polling(pipe) as rounds:
            await rounds.next()
            await rounds.next()
            held = (
                "select count(*) from pg_stat_activity where backend_xmin is not null and application_name like 'nms:%'"
            )
            async with asyncio.timeout(90):
                while await pipe.source.fetchval(held):
                    pass
