"""A poll by scan stands on 32 bits: past 2^31 and 2^32 transactions, frozen rows, other servers nothing is missed."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from nms.common.db.embedded_place import account_for
from nms.common.flow import DatasetSpec
from nms.connectors.postgres.poll.place import REACH, Horizon
from tests.conftest import MakeServer
from tests.contract.pipelines import connect, dataset, join, rows_of
from tests.contract.polls import MakeDatabase, Pipe, check, lay_poll, polling
from tests.services.postgres import PostgresServer, find_programs

TABLES = """
create table t (id int primary key, v text);
create table u (id int primary key, v text, x xid8 default pg_current_xact_id());
create index on u (x);
"""
PAGE = 32_768
"""Transactions on one page of pg_xact: a server that starts at the first of a page needs no older one."""
BURN = """
create table if not exists burn (n int);
do $$ begin
    for n in 1..{count} loop begin insert into burn values (n); exception when others then null; end; end loop;
end $$;
truncate burn
"""


async def advance(server: PostgresServer, xid: int) -> None:
    """Freeze every row, then let the server go on from another transaction id (64 bits, at the start of a page)."""
    await server.execute("alter database template0 allow_connections true")
    for row in await server.execute("select datname from pg_database"):
        await server.execute("vacuum freeze", database=row["datname"])
    await server.execute("checkpoint")
    await server.stop()
    account, data = account_for(server.directory), server.directory / "data"
    program = find_programs(server.version, account) / "pg_resetwal"
    words = [str(program), "-f", "-x", str(xid % (1 << 32)), "-e", str(xid >> 32), "-D", str(data)]
    await asyncio.to_thread(lambda: subprocess.run(words, check=True, capture_output=True, **account.switch))
    await server.start()


async def reconnect(pipe: Pipe) -> None:
    pipe.source, pipe.target = await connect(pipe.spec.source.dsn), await connect(pipe.spec.target.dsn)


async def change(pipe: Pipe, at: int) -> None:
    """Changes by transactions that end in another order than they began, a round between."""
    late = await pipe.connect()
    async with polling(pipe) as rounds:
        await rounds.once()
        await late.execute(f"begin; savepoint s; insert into t values ({at}, 'late'), ({at + 1}, 'late')")
        await late.execute(f"insert into u (id, v) values ({at}, 'late'); release s")
        for table in ("t", "u"):
            await pipe.source.execute(f"insert into {table} (id, v) values ({at + 2}, 'early')")
        await rounds.once()
        await late.execute(f"update t set v = 'later' where id = {at}; commit")
        found = await rounds.once()
        assert 3 <= found < 10, f"{found} changes found: old rows are read again"
        assert rounds.opened.cause is None
    await late.close()
    await check(pipe, ("t", "u"))


async def leap(pipe: Pipe, server: PostgresServer, xid: int) -> None:
    """Write and delete what the next round must tell, then let the server go on from `xid`."""
    await pipe.source.execute("update t set v = v || '.' where id = 1")
    await pipe.source.execute("update u set v = v || '.', x = pg_current_xact_id() where id = 1")
    await pipe.source.close()
    await pipe.target.close()
    await advance(server, xid)
    await reconnect(pipe)


async def test_nothing_is_missed_when_transaction_ids_wrap_around(make_server: MakeServer, tmp_path: Path) -> None:
    server = await make_server(settings={"autovacuum": "off"})
    ends = (await server.create_database(), await server.create_database())
    cursor = DatasetSpec("public.u", "public.u", {"id": "id", "v": "v"}, cursor="x")
    async with join(ends, tmp_path, TABLES, [dataset("t"), cursor], capture="poll", every=600.0) as pipe:
        for table in ("t", "u"):
            await pipe.source.execute(f"insert into {table} (id, v) select n, 'old' from generate_series(1, 500) n")
        await change(pipe, 1000)
        for number, xid in enumerate(((1 << 31) - 512 * PAGE, 3 << 30, (1 << 32) - PAGE)):
            await leap(pipe, server, xid)
            await change(pipe, 2000 + 10 * number)
        await pipe.source.execute(BURN.format(count=PAGE))
        assert await pipe.source.fetchval("select txid_current()") > 1 << 32
        await change(pipe, 3000)
        await pipe.source.execute("delete from t where id = 1000")
        for xid in ((1 << 32) + (1 << 30), (1 << 32) + (1 << 31) + 64 * PAGE):
            await leap(pipe, server, xid)
        async with polling(pipe) as rounds:
            await rounds.once()
            assert rounds.opened.cause is not None
            assert rounds.copied > 500
        await check(pipe, ("t", "u"))
        assert await pipe.target.fetchval("select count(*) from t where id = 1000") == 0
        await change(pipe, 4000)
        await server.close()


async def test_rows_that_were_frozen_since_are_not_missed(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "scan") as pipe:
        await pipe.source.execute("insert into t (id, v) select n, 'old' from generate_series(1, 500) n")
        async with polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute(
                "update t set v = 'new' where id <= 20; insert into t (id, v) values (900, 'new')"
            )
            await pipe.source.execute("vacuum (freeze) t")
            assert await rounds.once() >= 21
            await pipe.source.execute("vacuum (full, freeze) t")
            await rounds.once()
            await check(pipe)
            await pipe.source.execute("alter table t add w float default random()")
            await rounds.once()
        await check(pipe)


async def test_another_server_behind_the_address_is_copied_and_swept(
    make_database: MakeDatabase, server: PostgresServer, tmp_path: Path
) -> None:
    async with lay_poll(make_database, tmp_path, "scan") as pipe:
        await pipe.source.execute("insert into t (id, v) select n, 'old' from generate_series(1, 50) n")
        async with polling(pipe) as rounds:
            await rounds.once()
        for text in (("server", '"1/00000001"'), ("snapshot", '"9999999999:9999999999:"')):
            await pipe.source.execute("delete from t where id = (select min(id) from t)")
            await pipe.target.execute(
                "update nms.position set position = jsonb_set(position, $1, $2::text::jsonb)", [text[0]], text[1]
            )
            async with polling(pipe) as rounds:
                await rounds.once()
                assert rounds.opened.cause is not None
                assert rounds.copied
            assert await rows_of(pipe.target, "(select id, v from t)") == await rows_of(
                pipe.source, "(select id, v from t)"
            )


async def test_prepared_transactions_are_not_missed(make_server: MakeServer, tmp_path: Path) -> None:
    server = await make_server(settings={"max_prepared_transactions": "5"})
    for way in ("scan", "column", "log"):
        async with lay_poll(server.create_database, tmp_path, way) as pipe, polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute("begin; insert into t (id, v) values (1, 'prepared'); prepare transaction 'one'")
            for key in (2, 3):
                await pipe.source.execute(f"insert into t (id, v) values ({key}, 'other')")
                await rounds.once()
            await pipe.source.execute("commit prepared 'one'")
            assert await rounds.once() >= 1
            await check(pipe)
    await server.close()


@pytest.mark.parametrize(("text", "xmin", "xmax"), [("5:9:6,7", 5, 9), (f"{REACH}:{1 << 40}:", REACH, 1 << 40)])
def test_a_snapshot_says_where_it_ends(text: str, xmin: int, xmax: int) -> None:
    assert (Horizon(text).xmin, Horizon(text).xmax) == (xmin, xmax)
