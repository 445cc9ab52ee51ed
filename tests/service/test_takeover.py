"""Worker processes that are killed or frozen: another takes over, and every change takes effect once."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.pipelines import MakeDatabase, Pipe, lay, rows_of
from tests.flow.installation import Installation, Worker
from tests.services.postgres import PostgresServer
from tests.waiting import Stopwatch, eventually

NAME = "takeover"
CHUNKS = 12_000
"""Rows of more than one chunk, also where statistics tell how small they are."""
TABLE = "create table t (id int primary key, v text)"
COUNT_EFFECTS = """
create table effect (id int, op text);
create function count_effect() returns trigger language plpgsql as $$
begin
    insert into effect values (coalesce(new.id, old.id), tg_op);
    return null;
end $$;
create trigger count_effect after insert or update or delete on t for each row execute function count_effect()
"""
EFFECTS = (
    "select coalesce(jsonb_object_agg(op, n), '{}')::text from (select op, count(*) as n from effect group by op) x"
)


@asynccontextmanager
async def installed(
    make_database: MakeDatabase, tmp_path: Path, server: PostgresServer, lease: float
) -> AsyncIterator[tuple[Pipe, Installation]]:
    """A pipeline of one table, applied but with no worker yet."""
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(COUNT_EFFECTS)
        systems = {"source": pipe.spec.source.dsn, "target": pipe.spec.target.dsn}
        installation = Installation(server, systems, lease=lease)
        try:
            await installation.set_up()
            # So small that nothing is folded, whatever waits behind a busy machine: every change shows its effect.
            await installation.apply(NAME, ["t"], batch={"changes": 100})
            yield pipe, installation
        finally:
            await installation.tear_down()


async def ended(here: Installation, worker: Worker) -> None:
    """Wait until a worker process has killed itself."""
    try:
        assert await asyncio.wait_for(asyncio.to_thread(worker.process.wait, 90), 100) == -signal.SIGKILL
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{await here.standing(NAME)}\n{here.tails(30)}") from late
    here.forget(worker)


async def same(pipe: Pipe, here: Installation, seconds: float = 30.0) -> None:
    """Wait until both ends have the same rows."""

    async def look() -> bool:
        return await rows_of(pipe.target, "t") == await rows_of(pipe.source, "t")

    try:
        await eventually(look, seconds)
    except AssertionError as late:
        raise AssertionError(f"{await here.standing(NAME)}\n{here.tails()}") from late


async def streams(here: Installation) -> None:
    """Wait until the copy is done."""

    async def look() -> bool:
        return (await here.standing(NAME)).get("phase") == "streaming"

    await eventually(look)


async def test_a_worker_killed_at_any_point_leaves_each_change_to_take_effect_once(
    make_database: MakeDatabase, tmp_path: Path, server: PostgresServer
) -> None:
    async with installed(make_database, tmp_path, server, lease=1) as (pipe, here):
        await pipe.source.execute(f"insert into t select n, 'v' from generate_series(1, {CHUNKS}) n")
        for fault in ("backfill.after_read=kill@2", "load.before_commit=kill"):
            await ended(here, here.start_worker(fault))
        whole = here.start_worker()
        await streams(here)
        whole.kill()
        here.forget(whole)
        assert await pipe.target.fetchval(EFFECTS) == f'{{"INSERT": {CHUNKS}}}'
        count = 0
        for point in ("apply.before_commit", "apply.after_commit"):
            dying = asyncio.create_task(ended(here, here.start_worker(f"{point}=kill@4")))
            while not dying.done():
                count += 1
                low = 2 * CHUNKS + count
                await pipe.source.execute(f"insert into t values ({low}, 'x')")
                await pipe.source.execute(f"update t set v = 'y' where id = {low}; delete from t where id = {count}")
                await asyncio.wait([dying], timeout=0.02)
            await dying
        here.start_worker()
        await same(pipe, here)
        effects = json.loads(await pipe.target.fetchval(EFFECTS))
        assert effects == {"INSERT": CHUNKS + count, "UPDATE": count, "DELETE": count}


async def test_a_frozen_worker_is_replaced_and_writes_nothing_when_it_wakes(
    make_database: MakeDatabase, tmp_path: Path, server: PostgresServer
) -> None:
    async with installed(make_database, tmp_path, server, lease=1) as (pipe, here):
        frozen = here.start_worker("apply.before_commit=stop@3")
        await streams(here)
        await pipe.source.execute("insert into t values (1, 'x')")
        await same(pipe, here)
        await pipe.source.execute("insert into t values (2, 'held in its hands')")
        await eventually(lambda: state_of(frozen, "T"))
        here.start_worker()
        await same(pipe, here)
        await pipe.source.execute("update t set v = 'newer' where id = 2; insert into t values (3, 'x')")
        await same(pipe, here)
        frozen.signal(signal.SIGCONT)
        await eventually(lambda: let_go(here, frozen))
        await pipe.source.execute("insert into t values (4, 'x')")
        await same(pipe, here)
        assert json.loads(await pipe.target.fetchval(EFFECTS)) == {"INSERT": 4, "UPDATE": 1}
        frozen.signal(signal.SIGTERM)
        assert await asyncio.to_thread(frozen.process.wait, 90) == 0


async def state_of(worker: Worker, state: str) -> bool:
    """Whether a process is in a state of proc(5)."""
    return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == state


async def let_go(here: Installation, woken: Worker) -> bool:
    """Whether the woken worker has noticed that the pipeline went to the other."""
    holder = await here.holder(NAME)
    lines = woken.log.read_text()
    return holder is not None and holder is not woken and "lease" in lines.lower()


async def test_a_killed_worker_is_replaced_within_30_seconds(
    make_database: MakeDatabase, tmp_path: Path, server: PostgresServer
) -> None:
    async with installed(make_database, tmp_path, server, lease=15) as (pipe, here):
        for _ in range(2):
            here.start_worker()
        await streams(here)
        holder = await here.holder(NAME)
        assert holder is not None
        watch = Stopwatch()
        holder.kill()
        here.forget(holder)
        await pipe.source.execute("insert into t values (1, 'x')")
        await same(pipe, here, 40)
        assert watch.seconds() < 30
