"""Only rows that meet a filter are at the target, whatever moves them into it or out of it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nms.common.condition import conditions_of
from nms.common.flow import DatasetSpec
from nms.connectors.postgres import snapshot
from tests.contract.pipelines import Connection, MakeDatabase, Pipe, lay

TABLE = """
create table t (id int primary key, status text, amount numeric(8, 2), seen timestamptz, big text, v int default 0);
alter table t alter big set storage external;
alter table t replica identity full
"""
WHERE: dict[str, Any] = {"status": ["active", "trial"], "amount": {"gte": 10, "lt": 100}}
SQL = "status in ('active', 'trial') and amount >= 10 and amount < 100"
STATES = "(array['active', 'trial', 'ended', null])[1 + {} % 4]"
ROWS = 400


def filtered(where: dict[str, Any], name: str = "public.t", **parts: Any) -> DatasetSpec:
    return DatasetSpec(name, name, where=conditions_of(where), **parts)


async def compare(pipe: Pipe, condition: str, columns: str = "*") -> int:
    """Fail unless the target has just the rows of the source that meet a condition; gives how many."""
    there = await pipe.target.fetch("select t::text from t order by 1")
    here = await pipe.source.fetch(f"select t::text from (select {columns} from t where {condition}) t order by 1")
    assert [row[0] for row in there] == [row[0] for row in here]
    return len(here)


async def fill(pipe: Pipe) -> None:
    await pipe.source.execute(
        f"insert into t select n * 10, {STATES.format('n')}, n % 150, now(), repeat(md5(n::text), 100), n"
        f" from generate_series(1, {ROWS}) n"
    )


def pick(chance: random.Random) -> str:
    """One statement; rows change sides by their columns, with their keys, and take along what the log leaves out."""
    key, other = (chance.randint(1, ROWS) * 10 + chance.choice((0, 0, 3)) for _ in range(2))
    state, amount = STATES.format(chance.randrange(4)), chance.choice((5, 10, 99.99, 100, "'NaN'", "null"))
    return chance.choice([
        f"update t set status = {state} where id = {key}",
        f"update t set amount = {amount} where id = {key}",
        f"update t set amount = {amount}, status = {state}, v = v + 1 where id between {key} and {key + 60}",
        f"update t set v = v + 1 where id = {key}",
        f"update t set big = repeat(md5('{other}'), 90) where id = {key}",
        f"update t set id = {other}, status = {state}, amount = 50 where id = {key}"
        f" and not exists (select from t where id = {other})",
        f"update t set id = {other} where id = (select id from t where id between {key} and {key + 50} limit 1)"
        f" and not exists (select from t where id = {other})",
        f"delete from t where id = {key}",
        f"insert into t values ({key}, {state}, {amount}, now(), repeat('n', {chance.choice((10, 3000))}))"
        f" on conflict (id) do update set amount = excluded.amount",
        f"insert into t values ({other}, 'active', 20, now(), repeat('n', 3000)) on conflict do nothing",
    ])  # fmt: skip


@asynccontextmanager
async def writers(pipe: Pipe, seeds: range) -> AsyncIterator[None]:
    """Writers beside the block; a unique violation or a deadlock among them is theirs to try again."""
    stop = asyncio.Event()

    async def write(session: Connection, chance: random.Random) -> None:
        while not stop.is_set():
            try:
                async with session.transaction():
                    for _ in range(chance.randint(1, 4)):
                        await session.execute(pick(chance))
            except Exception as error:
                if getattr(error, "sqlstate", "") not in ("23505", "40P01"):
                    raise

    sessions = [await pipe.connect() for _ in seeds]
    tasks = [asyncio.create_task(write(one, random.Random(seed))) for seed, one in zip(seeds, sessions, strict=True)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        for session in sessions:
            await session.close()


@pytest.mark.parametrize("identity", ["full", "default"])
async def test_rows_move_into_a_filter_and_out_of_it(
    make_database: MakeDatabase, tmp_path: Path, identity: str
) -> None:
    ddl = f"create table t (id int primary key, kind int, v int); alter table t replica identity {identity}"
    async with lay(make_database, tmp_path, ddl, [filtered({"kind": {"gt": 5}})], heals=identity == "default") as pipe:
        await pipe.source.execute("insert into t select n, n % 10, 0 from generate_series(1, 100) n")
        async with pipe.moves():
            await pipe.catch_up()
            assert await compare(pipe, "kind > 5") == 40
            await pipe.source.execute("update t set kind = 10 - kind, v = 1 where id % 3 = 0")
            await pipe.source.execute("update t set kind = null where id % 7 = 0; delete from t where id % 11 = 0")
            await pipe.source.execute("update t set id = id + 1000 where id % 5 = 0")
            await pipe.source.execute("update t set id = id + 500, kind = 10 - kind where id % 13 = 0")
            await pipe.source.execute("insert into t values (-1, 6, 0), (-2, 5, 0), (-3, null, 0)")
            await pipe.catch_up()
            assert await compare(pipe, "kind > 5") > 10
            await pipe.source.execute("truncate t; insert into t values (1, 9, 9), (2, 1, 1)")
            await pipe.catch_up()
            assert await compare(pipe, "kind > 5") == 1


@pytest.mark.parametrize("form", ["binary", "text"])
async def test_a_filtered_copy_beside_writers_is_exact(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(snapshot, name, 20)
    async with lay(make_database, tmp_path, TABLE, [filtered(WHERE)]) as pipe:
        if form == "text":
            await pipe.target.execute("alter table t alter v type bigint")
        await fill(pipe)
        late = await pipe.connect()
        async with writers(pipe, range(2)), pipe.moves() as opened:
            assert opened.text_form is (form == "text")
            await pipe.until(lambda: pipe.loads > 2, 60)
        async with pipe.moves():
            async with writers(pipe, range(2, 4)), late.transaction():
                await late.execute("insert into t select -n, 'active', 50, now() from generate_series(1, 50) n")
                await late.execute("update t set amount = 200 where id < -25")
                await pipe.until(lambda: pipe.loads > 5, 60)
            await pipe.until(lambda: not pipe.copying, 60)
        async with pipe.moves():
            await pipe.catch_up()
        assert await compare(pipe, SQL) > 25
        await late.close()


async def test_writers_after_the_copy_and_large_transactions_are_followed(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, TABLE, [filtered(WHERE)]) as pipe:
        await fill(pipe)
        async with pipe.moves():
            await pipe.catch_up()
            async with writers(pipe, range(10, 12)):
                place = pipe.place
                await pipe.until(lambda: pipe.place > place + (1 << 20))
            await pipe.source.execute(
                "insert into t select n, case when n % 3 = 0 then 'active' end, 50, now(), repeat(md5(n::text), 60)"
                " from generate_series(100001, 104000) n"
            )
            await pipe.source.execute("update t set status = case when id % 2 = 0 then 'trial' end where id > 100000")
            await pipe.source.execute("update t set id = id + 100000, amount = id % 120 where id > 102000")
            await pipe.catch_up()
        assert await compare(pipe, SQL) > 1000


async def test_a_table_whose_log_no_longer_tells_enough_is_left_out_and_nothing_is_guessed(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, TABLE, [filtered(WHERE)]) as pipe:
        await fill(pipe)
        async with pipe.moves() as opened:
            await pipe.catch_up()
            before = await compare(pipe, SQL)
            await pipe.source.execute("alter table t replica identity default")
            await pipe.source.execute("update t set v = -1 where id = 30; update t set amount = 50 where id = 30")
            await pipe.source.execute("update t set status = 'active' where id = 30")
            await pipe.catch_up()
            pause = opened.facts()["paused"]["public.t"]
            assert (pause["code"], pause["sql"]) == ("key-lost", 'alter table "public"."t" replica identity full;')
        assert await pipe.target.fetchval("select count(*) from t") == before
        await pipe.source.execute(pause["sql"])
        async with pipe.moves() as opened:
            await pipe.catch_up()
            assert opened.facts()["paused"] == {}
        assert await compare(pipe, SQL) > 25
