"""A copy beside writers who do everything at once is exact, also where a commit becomes visible late."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nms.connectors.postgres import snapshot
from nms.connectors.postgres.snapshot import Chunk
from tests.contract.pipelines import Connection, MakeDatabase, Pipe, gate, lay

TABLES = """
create table t (id int primary key, v int not null, big text);
alter table t alter big set storage external;
create table gone (id int primary key, v int);
create table log (at int, v text);
"""
COUNT_EFFECTS = """
create table effect (id int);
create function count_effect() returns trigger language plpgsql as $$
begin
    insert into effect values (new.id);
    return new;
end $$;
create trigger count_effect before insert or update on t for each row execute function count_effect();
create trigger count_effect before insert or update on gone for each row execute function count_effect()
"""
ROWS = 600


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunk boundaries in a small table."""
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(snapshot, name, 20)


async def fill(pipe: Pipe) -> None:
    await pipe.source.execute(
        f"insert into t select n * 10, n, repeat(md5(n::text), 100) from generate_series(1, {ROWS}) n;"
        f"insert into gone select n, n from generate_series(1, {ROWS}) n;"
        "insert into log select n, 'before' from generate_series(1, 500) n"
    )


async def write(session: Connection, chance: random.Random, stop: asyncio.Event) -> None:
    """Random transactions of one writer until told to stop."""
    while not stop.is_set():
        async with session.transaction():
            for _ in range(chance.randint(1, 4)):
                await session.execute(pick(chance))


def pick(chance: random.Random) -> str:
    """One statement; writers share keys, and moves take values along that the log does not repeat."""
    key, other = (chance.randint(1, ROWS) * 10 for _ in range(2))
    kind = chance.randrange(20)
    if kind < 6:
        return f"update t set v = v + 1 where id = {key}"
    if kind < 9:
        return f"delete from t where id = {key}"
    if kind < 13:
        return f"insert into t values ({key}, {key}, repeat('n', {chance.choice((10, 3000))})) on conflict do nothing"
    if kind < 17:
        return (
            f"update t set id = {other} where id = (select id from t where id between {key} and {key + 50} limit 1)"
            f" and not exists (select from t where id = {other})"
        )
    if kind == 17:
        return f"update t set big = repeat(md5('{key}'), 90) where id = {key}"
    if kind == 18:
        emptied = chance.random() < 0.1
        return "truncate gone" if emptied else f"insert into gone values ({-key}, 1) on conflict do nothing"
    return f"insert into log values ({key}, 'live')"


@asynccontextmanager
async def writers(pipe: Pipe, number: int = 3) -> AsyncIterator[None]:
    """Writers beside the block; a unique violation or a deadlock among them is theirs to try again."""
    stop = asyncio.Event()
    sessions = [await pipe.connect() for _ in range(number)]

    async def insist(session: Connection, seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            try:
                await write(session, chance, stop)
            except Exception as error:
                if getattr(error, "sqlstate", "") not in ("23505", "40P01"):
                    raise

    tasks = [asyncio.create_task(insist(session, seed)) for seed, session in enumerate(sessions)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        for session in sessions:
            await session.close()


def loaded(pipe: Pipe, number: int) -> Callable[[], bool]:
    """Whether so many chunks were written since now, or all."""
    enough = pipe.loads + number
    return lambda: pipe.loads >= enough or not pipe.copying


async def test_a_copy_beside_writers_is_exact(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLES, ["t", "gone", "log"]) as pipe:
        await fill(pipe)
        async with writers(pipe), pipe.moves():
            await pipe.until(lambda: not pipe.copying, 60)
        await pipe.run("t", "gone", "log")
        assert pipe.loads > 20


async def test_a_copy_cut_short_again_and_again_is_exact_and_repeats_at_most_a_chunk(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, TABLES, ["t", "gone", "log"]) as pipe:
        await fill(pipe)
        cuts = 0
        async with writers(pipe):
            while pipe.copying:
                async with pipe.moves():
                    await pipe.until(loaded(pipe, 8), 60)
                cuts += 1
        await pipe.run("t", "gone", "log")
        assert cuts > 2


async def test_a_copy_writes_each_row_once_whatever_cuts_it(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLES, ["t", "gone"]) as pipe:
        await fill(pipe)
        await pipe.target.execute(COUNT_EFFECTS)
        cuts = 0
        while pipe.copying:
            async with pipe.moves():
                await pipe.until(loaded(pipe, 10))
            cuts += 1
        await pipe.compare("t", "gone")
        assert cuts > 2
        assert await pipe.target.fetchval("select count(*) from effect") == 2 * ROWS


async def test_a_transaction_that_spans_the_whole_copy_arrives(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLES, ["t", "gone", "log"]) as pipe:
        await fill(pipe)
        late = await pipe.connect()
        async with pipe.moves():
            await pipe.until(lambda: pipe.loads > 3)
            transaction = late.transaction()
            await transaction.start()
            await late.execute("update t set v = -1 where id % 3 = 0; insert into t values (1, 1)")
            await late.execute("delete from t where id = 50")
            await late.execute("update t set id = id + 5 where id % 70 = 0; insert into log values (0, 'late')")
            await pipe.until(lambda: not pipe.copying)
            await transaction.commit()
            await pipe.catch_up()
        await pipe.compare("t", "gone", "log")
        await late.close()


async def test_what_commits_between_the_reading_of_a_chunk_and_its_mark_is_in_it(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLES, ["t", "gone", "log"]) as pipe:
        await fill(pipe)
        writer, chance = await pipe.connect(), random.Random(4)

        async def between(chunk: Chunk) -> None:
            for _ in range(6):
                await writer.execute(pick(chance))

        async with gate(monkeypatch, between):
            await pipe.run("t", "gone", "log")
        await writer.close()
