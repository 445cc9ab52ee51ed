"""A source retains no more log than it must, is told only what is durable, and says when it can go on no more."""

from pathlib import Path

import pytest

from nms.common.flow import ChangeRefused
from nms.common.problem import Problem
from nms.connectors.postgres import wal, watch
from nms.connectors.postgres.wal import parse_lsn
from tests.contract.pipelines import MESSAGE, Connection, MakeDatabase, Pipe, connect, lay
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

TABLE = "create table t (id int primary key, v text)"
KEPT = "select restart_lsn::text from pg_replication_slots where slot_name = $1"
CONFIRMED = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1"


async def let_go(pipe: Pipe, server: PostgresServer) -> None:
    """Wait until the slot keeps nothing written so far; the server itself logs such a snapshot now and then."""
    mark = parse_lsn(await pipe.source.fetchval("select pg_current_wal_lsn()::text"))

    async def look() -> bool:
        await server.execute("select pg_log_standby_snapshot()")
        return parse_lsn(await pipe.source.fetchval(KEPT, pipe.spec.slot)) >= mark

    await eventually(look)


async def make_noise(session: Connection) -> None:
    """A hundred megabytes of log that no pipeline wants."""
    await session.execute("create table noise (v text); alter table noise alter v set storage external")
    for _ in range(10):
        await session.execute("insert into noise select repeat(md5(n::text), 320) from generate_series(1, 1000) n")


async def test_an_idle_pipeline_lets_the_log_of_others_go(
    make_database: MakeDatabase, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No heartbeat but the first: it is the keepalives that tell how far the log is.
    monkeypatch.setattr(watch, "WATCH_SECONDS", 600)
    monkeypatch.setattr(wal, "_FEEDBACK_SECONDS", 0.3)
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe, pipe.moves():
        await pipe.catch_up()
        elsewhere = await connect(await make_database())
        await make_noise(elsewhere)
        await elsewhere.close()
        await let_go(pipe, server)


async def test_a_table_of_the_source_that_is_not_followed_retains_no_log(
    make_database: MakeDatabase, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "_FEEDBACK_SECONDS", 0.3)
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe, pipe.moves():
        await pipe.catch_up()
        await make_noise(pipe.source)
        await let_go(pipe, server)


async def test_nothing_is_confirmed_that_the_target_has_refused(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.run("t")
        await pipe.target.execute("alter table t add check (id > 0)")
        before = parse_lsn(await pipe.source.fetchval(MESSAGE))
        await pipe.source.execute("insert into t values (-1, 'refused')")
        with pytest.raises(ChangeRefused):
            await pipe.run("t")
        assert parse_lsn(await pipe.source.fetchval(CONFIRMED, pipe.spec.slot)) <= before + 1000
        await pipe.target.execute("alter table t drop constraint t_id_check")
        await pipe.run("t")


LOSSES = {
    "slot-lost": "select pg_drop_replication_slot('{slot}')",
    "publication-gone": "drop publication {slot}",
}


@pytest.mark.parametrize("code", LOSSES)
async def test_what_was_lost_while_nobody_read_is_a_problem_with_a_name(
    code: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.run("t")

        async def look() -> bool:
            active = "select active from pg_replication_slots where slot_name = $1"
            return not await pipe.source.fetchval(active, pipe.spec.slot)

        await eventually(look)
        await pipe.source.execute(LOSSES[code].format(slot=pipe.spec.slot))
        with pytest.raises(Problem) as raised:
            await pipe.run("t")
        assert raised.value.code == code
