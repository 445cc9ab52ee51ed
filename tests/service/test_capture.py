"""Transactions that the server streams before their end arrive as they ended: whole, in commit order, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.pipelines import Connection, MakeDatabase, Pipe, lay, rows_of
from tests.waiting import eventually

TABLES = "create table t (id int primary key, v text); create table u (id int primary key, v text)"
ROWS = "insert into {} select n, repeat('x', 100) from generate_series({}, {}) n"
STREAMED = "select stream_count from pg_stat_replication_slots where slot_name = $1"


@asynccontextmanager
async def streaming(make_database: MakeDatabase, tmp_path: Path, ddl: str = TABLES) -> AsyncIterator[Pipe]:
    """A pipeline whose source streams every transaction of more than 64 kB; both databases are of one server."""
    async with lay(make_database, tmp_path, ddl, ["t", "u"]) as pipe:
        name = await pipe.source.fetchval("select current_database()")
        await pipe.source.execute(f"alter database {name} set logical_decoding_work_mem = '64kB'")
        yield pipe


async def streamed(pipe: Pipe, more_than: int = 0) -> int:
    """Wait until the server has streamed so many blocks of transactions under way."""

    async def look() -> int:
        count = await pipe.target.fetchval(STREAMED, pipe.spec.slot) or 0
        return count if count > more_than else 0

    return await eventually(look)


async def test_a_savepoint_rolled_back_leaves_nothing_behind(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with streaming(make_database, tmp_path) as pipe, pipe.moves():
        await pipe.catch_up()
        async with pipe.source.transaction():
            await pipe.source.execute(ROWS.format("t", 1, 2000))
            for _ in range(3):
                before = await streamed(pipe)
                savepoint = pipe.source.transaction()
                await savepoint.start()
                await pipe.source.execute(ROWS.format("u", 1, 2000) + "; delete from t where id % 2 = 0")
                inner = pipe.source.transaction()
                await inner.start()
                await pipe.source.execute(ROWS.format("t", 3000, 5000))
                await inner.commit()
                await streamed(pipe, before + 10)
                await savepoint.rollback()
            await pipe.source.execute("update t set v = 'kept' where id > 1000")
        await pipe.catch_up()
        await pipe.compare("t", "u")


async def test_a_table_first_met_in_a_savepoint_rolled_back_is_known_after_it(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with streaming(make_database, tmp_path) as pipe, pipe.moves():
        await pipe.catch_up()
        async with pipe.source.transaction():
            savepoint = pipe.source.transaction()
            await savepoint.start()
            await pipe.source.execute(ROWS.format("t", 1, 2000))
            await streamed(pipe)
            await savepoint.rollback()
            await pipe.source.execute(ROWS.format("t", 5000, 7000))
        await pipe.catch_up()
        await pipe.compare("t", "u")
        await streamed(pipe)


async def test_a_transaction_rolled_back_leaves_nothing_behind(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with streaming(make_database, tmp_path) as pipe, pipe.moves() as opened:
        await pipe.catch_up()
        transaction = pipe.source.transaction()
        await transaction.start()
        await pipe.source.execute(ROWS.format("t", 1, 9000))
        await streamed(pipe)
        await transaction.rollback()
        await pipe.source.execute(ROWS.format("t", 1, 5))
        await pipe.catch_up()
        await pipe.compare("t", "u")
        await streamed(pipe)
        assert opened.source.space.used == 0


async def test_transactions_that_run_side_by_side_keep_their_order_per_key(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with streaming(make_database, tmp_path) as pipe, pipe.moves():
        await pipe.source.execute(ROWS.format("t", 1, 3000))
        sessions = [await pipe.connect() for _ in range(3)]
        running = [session.transaction() for session in sessions]
        for transaction in running:
            await transaction.start()
        for step in range(3):
            for number, session in enumerate(sessions):
                low = number * 1000 + 1
                await session.execute(f"update t set v = v || {step} where id between {low} and {low + 999}")
                await session.execute(ROWS.format("u", low + step * 10_000, low + step * 10_000 + 500))
        await running[1].commit()
        await pipe.source.execute("update t set v = 'later' where id between 1001 and 1500")
        await running[0].rollback()
        await sessions[0].execute("update t set v = 'free again' where id <= 500")
        await running[2].commit()
        await pipe.catch_up()
        await pipe.compare("t", "u")
        await streamed(pipe)
        for session in sessions:
            await session.close()


async def test_a_table_may_change_in_the_middle_of_a_transaction(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with streaming(make_database, tmp_path) as pipe, pipe.moves():
        await pipe.catch_up()
        async with pipe.source.transaction():
            await pipe.source.execute(ROWS.format("t", 1, 2000))
            await pipe.source.execute("alter table t add column w text; alter table t add column x int default 5")
            await pipe.source.execute("update t set v = 'new', w = 'w' where id < 1000")
            before = await streamed(pipe)
            savepoint = pipe.source.transaction()
            await savepoint.start()
            await pipe.source.execute("alter table t drop column v; alter table t add column v int")
            await pipe.source.execute("insert into t (id, w, v) select n, 'gone', 1 from generate_series(3000, 6000) n")
            await streamed(pipe, before + 2)
            await savepoint.rollback()
            await pipe.source.execute("alter table t drop column w")
            await pipe.source.execute(ROWS.format("t (id, v)", 7000, 9000))
        await pipe.source.execute("alter table t drop column x; insert into t values (-1, 'small')")
        await pipe.catch_up()
        await pipe.compare("t", "u")
        await streamed(pipe)


async def test_a_transaction_is_seen_as_a_whole_over_all_tables(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with streaming(make_database, tmp_path) as pipe, pipe.moves():
        await pipe.catch_up()
        reader = asyncio.create_task(read_totals(pipe.target, ended := asyncio.Event()))
        for number in range(60):
            size = 1000 if number % 10 == 0 else 3
            low = number * 10_000
            async with pipe.source.transaction():
                await pipe.source.execute(ROWS.format("t", low, low + size))
                await pipe.source.execute("delete from t where id < $1", low - 20_000)
                await pipe.source.execute("delete from u where id < $1", low - 20_000)
                await pipe.source.execute(ROWS.format("u", low, low + size))
            if number % 15 == 0:
                await pipe.catch_up()
        await pipe.catch_up()
        ended.set()
        seen = await reader
        await streamed(pipe)
        assert len(seen) > 3
        assert all(left == right for left, right in seen), seen
        await pipe.compare("t", "u")


async def read_totals(target: Connection, ended: asyncio.Event) -> set[tuple[int, int]]:
    """The counts of both tables as one statement sees them, again and again."""
    seen = set()
    while not ended.is_set():
        seen.add(tuple(await target.fetchrow("select (select count(*) from t), (select count(*) from u)")))
    return seen


async def test_what_the_stream_had_told_is_told_again_after_a_restart(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with streaming(make_database, tmp_path) as pipe:
        await pipe.run("t", "u")
        open_one = await pipe.connect()
        transaction = open_one.transaction()
        await transaction.start()
        await open_one.execute(ROWS.format("t", 1, 3000))
        async with pipe.moves():
            await pipe.source.execute(ROWS.format("u", 1, 10))
            await pipe.catch_up()
            await open_one.execute(ROWS.format("t", 3001, 5000))
        assert await rows_of(pipe.target, "t") == []
        async with pipe.moves():
            await transaction.commit()
            await pipe.catch_up()
        await pipe.compare("t", "u")
        await open_one.close()
