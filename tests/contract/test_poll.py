"""A poll misses nothing that commits, whenever it commits, in whichever way changes are found."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from nms.common.condition import Condition
from nms.connectors.postgres.poll import place
from nms.connectors.postgres.poll.place import Horizon
from nms.connectors.postgres.poll.round import Round
from tests.contract.polls import WAYS, Connection, MakeDatabase, Pipe, check, lay_poll, polling, running, settle

every_way = pytest.mark.parametrize("way", WAYS)


async def interleave(pipe: Pipe) -> None:
    """Transactions that commit in another order than they began, with a round between any two of them."""
    sessions = [await pipe.connect() for _ in range(3)]
    first, second, third = sessions
    async with polling(pipe) as rounds:
        await rounds.once()
        for at, session in enumerate((first, second)):
            await session.execute(f"begin; savepoint s; insert into t (id, v) values ({at}, 'late')")
            await session.execute(f"release s; update t set v = 'later' where id = {10 + at}; savepoint s")
            await session.execute(f"insert into t (id, v) values ({100 + at}, 'undone'); rollback to s")
        await third.execute("insert into t (id, v) values (2, 'early'); update t set v = 'early' where id = 12")
        await rounds.once()
        await second.execute("savepoint u; update t set v = 'last' where id = 1; release u; commit")
        await third.execute("update t set v = 'again' where id = 2")
        await rounds.once()
        await first.execute("insert into t (id, v) values (5, 'last of all'); commit")
        await rounds.once()
        for session in sessions:
            await session.close()
    await check(pipe)


async def fill(pipe: Pipe) -> None:
    await pipe.source.execute("insert into t (id, v) select n, 'old' from generate_series(10, 50) n")


@every_way
async def test_a_transaction_that_commits_after_later_ones_is_not_missed(
    way: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, way) as pipe:
        await fill(pipe)
        await interleave(pipe)


async def test_the_check_sees_what_a_naive_cursor_misses(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "value") as pipe:
        await fill(pipe)
        naive = replace(pipe.spec.datasets[0], overlap=0.0)
        pipe.spec = replace(pipe.spec, datasets=(naive,))
        with pytest.raises(AssertionError, match="missed"):
            await interleave(pipe)


@pytest.mark.parametrize("way", ["scan", "column", "log"])
async def test_the_check_sees_what_the_end_of_a_snapshot_as_horizon_misses(
    way: str, make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay_poll(make_database, tmp_path, way) as pipe:
        await fill(pipe)
        monkeypatch.setattr(place.Horizon, "xmin", property(lambda one: one.xmax))
        with pytest.raises(AssertionError, match="missed"):
            await interleave(pipe)


@pytest.mark.parametrize("way", ["scan", "column", "log"])
async def test_the_check_sees_what_a_horizon_of_another_statement_misses(
    way: str, make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Round.read

    async def read_then_look(self: Round, polled: list[place.Polled]) -> int:
        found = await read(self, polled)
        await pipe.source.execute("insert into t (id, v) values (1, 'between') on conflict (id) do update set v = 'x'")
        # As where no other transaction runs, which would hold the horizon back.
        end = Horizon(await pipe.source.fetchval("select pg_current_snapshot()::text")).xmax
        self.now = Horizon(f"{end}:{end}:")
        return found

    async with lay_poll(make_database, tmp_path, way) as pipe:
        await fill(pipe)
        async with polling(pipe) as rounds:
            await rounds.once()
            with monkeypatch.context() as patch:
                patch.setattr(Round, "read", read_then_look)
                await rounds.once()
            await rounds.once()
        with pytest.raises(AssertionError, match="missed"):
            await check(pipe)


async def write(session: Connection, seed: int, deletes: bool) -> None:
    """Transactions of random length with savepoints, some of them undone, some asleep before they commit."""
    dice = random.Random(seed)
    for _ in range(25):
        await session.execute("begin")
        for _ in range(dice.randint(1, 4)):
            key = seed * 1000 + dice.randint(1, 60)
            sql = (
                f"insert into t (id, v) values ({key}, '{dice.random()}') on conflict (id) do update set v = excluded.v"
            )
            if deletes and dice.random() < 0.3:
                sql = f"delete from t where id = {key}"
            await session.execute(f"savepoint s; {sql}")
            await session.execute(dice.choice(("release s", "rollback to s", "select 1")))
            await session.execute(f"select pg_sleep({dice.random() * 0.02})")
        await session.execute(dice.choice(("commit", "commit", "rollback")))


@every_way
async def test_nothing_is_missed_beside_writers(way: str, make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, way) as pipe:
        sessions = [await pipe.connect() for _ in range(6)]
        async with running(pipe):
            await asyncio.gather(*(write(one, at, way == "log") for at, one in enumerate(sessions)))
        for session in sessions:
            await session.close()
        await settle(pipe)


@every_way
async def test_ten_thousand_equal_cursor_values_all_arrive(
    way: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, way) as pipe:
        await fill(pipe)
        late = await pipe.connect()
        async with polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute("alter table t disable trigger touch")
            stamp = "insert into t (id, v, at) select n, 'same', '2026-01-01' from generate_series({}, {}) n"
            await late.execute("begin; " + stamp.format(20_001, 20_500))
            await pipe.source.execute(stamp.format(10_001, 20_000).replace("'2026-01-01'", "now()"))
            await rounds.once()
            await late.execute("update t set at = (select max(at) from t) where id > 20000; commit")
            await rounds.once()
        await late.close()
        await check(pipe)
        assert await pipe.target.fetchval("select count(*) from t") == 10_541


@every_way
async def test_a_row_that_leaves_the_filter_leaves_the_target(
    way: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, way) as pipe:
        where = (Condition("v", "in", ("in",)),)
        pipe.spec = replace(pipe.spec, datasets=(replace(pipe.spec.datasets[0], where=where),))
        fill = "insert into t (id, v) select n, case when n < 10 then 'in' else 'out' end from generate_series(1, 20) n"
        await pipe.source.execute(fill)
        async with polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute("update t set v = 'out' where id < 3; update t set v = 'in' where id > 18")
            await pipe.source.execute("update t set v = null where id = 5")
            await rounds.once()
        assert await pipe.target.fetchval("select array_agg(id order by id) from t") == [3, 4, 6, 7, 8, 9, 19, 20]
