"""A commit that is in the log and not yet visible, since a synchronous standby is slow, is in the copy all the same."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run

import pytest

from nms.common.db.embedded_place import account_for
from nms.connectors.postgres import snapshot
from nms.connectors.postgres.snapshot import Chunk
from tests.conftest import MakeServer
from tests.contract.pipelines import MESSAGE, Connection, MakeDatabase, Pipe, connect, gate, join
from tests.services.postgres import SETTINGS, PostgresServer, find_programs
from tests.services.process import end, free_port, keep
from tests.waiting import eventually

TABLES = "create table a (id int primary key, v text); create table t (id int primary key, v text)"
WAITING = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"


@dataclass
class Pair:
    """A primary whose commits wait for a standby that can be held."""

    primary: PostgresServer
    receiver: int

    def hold(self) -> None:
        """Let commits reach the log and nothing more."""
        os.kill(self.receiver, signal.SIGSTOP)

    def free(self) -> None:
        """Let commits become visible."""
        os.kill(self.receiver, signal.SIGCONT)

    async def waits(self, number: int) -> None:
        """Wait until so many commits hang between the log and visibility."""

        async def look() -> bool:
            return bool((await self.primary.execute(WAITING))[0][0] >= number)

        await eventually(look)


async def find_receiver(primary: PostgresServer, port: int) -> int:
    """The process that receives the log at the standby, once that is the synchronous one."""

    async def look() -> int | None:
        found = await primary.execute("select sync_state from pg_stat_replication where application_name = 'late'")
        if not found or found[0][0] != "sync":
            return None
        standby = await connect(primary.superuser_dsn().replace(str(primary.port), str(port)))
        try:
            pid: int | None = await standby.fetchval("select pid from pg_stat_wal_receiver")
        finally:
            await standby.close()
        return pid

    return await eventually(look)


@asynccontextmanager
async def synchronous(make_server: MakeServer) -> AsyncIterator[Pair]:
    """A primary with a synchronous standby, made by its own programs."""
    primary = await make_server("18", settings={"fsync": "off", "full_page_writes": "off"})
    account = account_for(primary.directory)
    programs = find_programs("18", account)
    directory = primary.directory / "standby"
    backup: list[str | Path] = [programs / "pg_basebackup", "-D", directory, "-d", primary.superuser_dsn()]
    backup += ["-X", "stream", "-R", "-c", "fast"]
    await asyncio.to_thread(lambda: run(backup, check=True, cwd=primary.directory, **account.switch))
    with (directory / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{primary.superuser_dsn()}?application_name=late'\n")
    port = free_port()
    options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": port, "fsync": "off"}.items()]
    command: list[str | Path] = [programs / "postgres", "-D", directory, *options]
    kept = keep(command, directory, stop_signal=signal.SIGQUIT, account=(account.uid, account.gid))
    pair = Pair(primary, 0)
    try:
        await primary.execute("alter system set synchronous_standby_names = 'late'")
        await primary.execute("select pg_reload_conf()")
        pair.receiver = await find_receiver(primary, port)
        yield pair
    finally:
        if pair.receiver:
            pair.free()
        end(kept, signal.SIGQUIT)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(snapshot, name, 50)


@asynccontextmanager
async def hanging(pipe: Pipe, pair: Pair, *statements: str) -> AsyncIterator[None]:
    """Statements whose commits hang until the standby is freed, at the latest when the block ends."""
    sessions: list[Connection] = [await pipe.connect() for _ in statements]
    before = (await pair.primary.execute(WAITING))[0][0]
    tasks = [
        asyncio.create_task(session.execute(statement)) for session, statement in zip(sessions, statements, strict=True)
    ]
    try:
        await pair.waits(before + len(statements))
        yield
    finally:
        pair.free()
        await asyncio.gather(*tasks)
        for session in sessions:
            await session.close()


LATE = (
    "update t set v = 'late' where id between 10 and 20",
    "delete from t where id between 100 and 200",
    "update t set id = id + 5000 where id between 300 and 310",
    "insert into t values (-1, 'late'), (9999, 'late')",
)


async def test_late_commits_are_in_the_copy(
    make_server: MakeServer, make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with synchronous(make_server) as pair:
        left, right = await pair.primary.create_database(), await make_database()
        async with join((left, right), tmp_path, TABLES, ["a", "t"]) as pipe:
            await pipe.source.execute("insert into a values (1)")
            await pipe.source.execute("insert into t select n, 'v' from generate_series(1, 1000) n")
            await check_before_the_slot(pipe, pair)
            await check_between_chunks(pipe, pair, monkeypatch)
            await check_between_lives(pipe, pair)


async def check_before_the_slot(pipe: Pipe, pair: Pair) -> None:
    """A commit that hangs when the slot is made holds it up, and is in the copy."""
    pair.hold()
    async with hanging(pipe, pair, LATE[0]):
        opening = asyncio.create_task(pipe.run("a", "t"))
        pair.free()
    await opening


async def check_between_chunks(pipe: Pipe, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits that hang while chunks are read are waited for, and that is told; the stream goes on."""
    pipe.spec = replace(pipe.spec, generation=2)
    beside = AsyncExitStack()

    async def between(chunk: Chunk) -> None:
        if chunk.after == ("250",):
            pair.hold()
            await beside.enter_async_context(hanging(pipe, pair, *LATE[1:]))

    async with gate(monkeypatch, between), beside, pipe.moves() as opened:
        await pipe.until(lambda: opened.facts()["waiting_for_transactions"] == 3)
        loads = pipe.loads
        pair.free()
        await pipe.catch_up()
        assert pipe.loads > loads
    await pipe.compare("a", "t")


async def check_between_lives(pipe: Pipe, pair: Pair) -> None:
    """Commits that hang while a worker passes them, with nothing of their table copied, are waited for by the next."""
    pipe.spec = replace(pipe.spec, generation=3)
    await pipe.source.execute("set synchronous_commit = local")
    async with pipe.steps() as steps:
        await steps.until_read()
        pair.hold()
        late = hanging(pipe, pair, "delete from t where v = 'late'", "insert into t values (7000, 'last')")
        async with late:
            await pipe.source.execute("insert into a values (2)")
            await steps.past(await pipe.source.fetchval(MESSAGE))
            await steps.leave()
            async with pipe.moves() as opened:
                await pipe.until(lambda: opened.facts()["waiting_for_transactions"] == 2)
                pair.free()
                await pipe.catch_up()
    await pipe.compare("a", "t")
