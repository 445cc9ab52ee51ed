"""A copy beside live writers is exact: what is written while chunks are read is not lost, doubled or revived."""

import asyncio
from pathlib import Path

import pytest

from nms.connectors.postgres import snapshot, watch
from nms.connectors.postgres.connector import open_pipeline
from nms.connectors.postgres.snapshot import Chunk
from nms.connectors.postgres.takeover import session_prefix
from tests.contract.pipelines import MESSAGE, MakeDatabase, Pipe, gate, lay
from tests.waiting import eventually

TABLE = "create table t (id int primary key, v text, big text); alter table t alter big set storage external;"
FILL = "insert into t select n, 'old', repeat('x', 3000) || n from generate_series({}, {}) n"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunk boundaries in a small table."""
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(snapshot, name, 40)
    # Whatever meets the look at the publications by chance on a slow machine meets it always.
    monkeypatch.setattr(watch, "WATCH_SECONDS", 0.02)


async def test_a_table_is_copied(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute(FILL.format(1, 1000))
        await pipe.run("t")
        assert pipe.copied == 1000


async def test_a_delete_between_two_lives_of_a_worker_is_not_lost(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLE + "create table a (id int primary key);", ["a", "t"]) as pipe:
        await pipe.source.execute(FILL.format(1, 100) + ";insert into a values (1)")
        writer = await pipe.connect()
        async with pipe.steps() as steps:
            await steps.until_read()
            async with writer.transaction():
                await writer.execute("lock table t")
                await steps.hold(pipe.source, "t")
                await writer.execute(FILL.format(900, 900))
            while not (batch := await steps.next()).small:
                await steps.apply(batch)
            await steps.apply(batch)
        assert await pipe.target.fetchval("select array_agg(id) from t") == [900]
        await pipe.source.execute("delete from t where id = 900")
        await pipe.run("t")
        await writer.close()


async def test_a_key_that_moves_to_and_fro_with_values_left_out_is_read_whole(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute(FILL.format(1, 200))
        async with pipe.steps() as steps:
            await steps.until_read()
            for a, b in ((150, 1001), (1001, 1002), (1002, 1001)):
                await pipe.source.execute(f"update t set id = {b}, v = 'moved' where id = {a}")
            await steps.past(await pipe.source.fetchval(MESSAGE))
        await pipe.run("t")


async def test_a_rewritten_table_is_not_taken_for_an_empty_one(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute(FILL.format(1, 200))
        writer = await pipe.connect()
        async with pipe.steps() as steps:
            await steps.until_read()
            async with writer.transaction():
                await writer.execute("alter table t add w float default random()")
                await steps.hold(pipe.source, "t")
            while pipe.copying:
                await steps.apply(await steps.next())
        await writer.close()
        assert await pipe.target.fetchval("select count(*) from t") == 200


async def test_a_copy_that_is_told_to_end_twice_leaves_no_session_with_its_locks(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute(FILL.format(1, 200))
        writer = await pipe.connect()

        async def between(chunk: Chunk) -> None:
            if chunk.after is None:
                await writer.execute("begin; lock table t")

        async with gate(monkeypatch, between):
            moving = asyncio.create_task(move(pipe))
            await eventually(lambda: sessions(pipe, "wait_event_type = 'Lock' and query like 'lock table%'"))
            moving.cancel()
            assert pipe.opened is not None
            while not all(task.done() or task.cancelling() for task in pipe.opened.source._tasks):  # noqa: ASYNC110
                await asyncio.sleep(0)
            # It waits for what it holds to be put down.
            moving.cancel()
            await asyncio.wait({moving})

        async def gone() -> bool:
            return not await sessions(pipe)

        await eventually(gone)
        await writer.close()


async def move(pipe: Pipe) -> None:
    """Move what comes, and keep what the pipeline was made of beyond its end."""
    async with open_pipeline(pipe.spec) as pipe.opened:
        async for batch in pipe.opened.source.batches():
            await pipe.apply(pipe.opened, batch)


async def sessions(pipe: Pipe, condition: str = "true") -> list[str]:
    """The sessions that the pipeline has, by name."""
    sql = f"select application_name from pg_stat_activity where starts_with(application_name, $1) and {condition}"
    return [row[0] for row in await pipe.target.fetch(sql, session_prefix(pipe.spec.name))]
