"""The servers for tests themselves: real, private, shared, and gone with their owner."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from redis.asyncio import Redis

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.settings import Settings
from tests.conftest import MakeDatabase, MakeServer
from tests.services.postgres import PostgresServer
from tests.services.process import wait_until
from tests.services.rabbitmq import RabbitServer
from tests.services.shared import Session


@pytest.mark.parametrize("server", ["18", "16", "15"], indirect=True)
async def test_every_postgres_version_really_runs_with_logical_replication(
    server: PostgresServer, make_database: MakeDatabase
) -> None:
    connection = await asyncpg.connect(await make_database())
    assert await connection.fetchval("show wal_level") == "logical"
    assert int(await connection.fetchval("show max_replication_slots")) >= 32
    assert int(await connection.fetchval("show max_wal_senders")) >= 32
    assert await connection.fetchval("select rolreplication and not rolsuper from pg_roles where rolname = user")
    if server.version != "15":
        assert connection.get_server_version().major == int(server.version)
    await connection.close()


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    """A dwh of the test alone: one writes there."""
    return dwh_database


async def test_each_test_gets_a_migrated_database_of_its_own(settings: Settings) -> None:
    for kind in DSNType:
        pool = await get_pool(kind)
        assert await pool.fetchval("select count(*) from pg_namespace where nspname in ('common', 'aiosqlembic')") == 2
        await pool.execute("create table left_behind ()")


async def test_a_database_knows_nothing_of_the_last_test(settings: Settings) -> None:
    for kind in DSNType:
        assert await (await get_pool(kind)).fetchval("select to_regclass('left_behind')") is None


async def test_a_database_with_a_replication_slot_is_dropped_all_the_same(server: PostgresServer) -> None:
    await server.create_database("with_slot")
    await server.execute("select pg_create_logical_replication_slot('s', 'pgoutput')", database="with_slot")
    await server.drop_database("with_slot")
    assert not await server.execute("select 1 from pg_database where datname = 'with_slot'")
    assert not await server.execute("select 1 from pg_replication_slots where slot_name = 's'")


async def test_a_crashed_server_keeps_what_was_committed_and_its_port(make_server: MakeServer) -> None:
    own = await make_server("18")
    dsn = await own.create_database("kept")
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table t as select 1 as x")
    before = own.pid
    await own.restart("immediate")
    assert own.pid != before
    again = await asyncpg.connect(dsn)
    assert await again.fetchval("select x from t") == 1
    await again.close()
    connection.terminate()


async def test_rabbitmq_really_carries_messages_in_a_virtual_host_of_its_own(rabbitmq: str) -> None:
    async with await aio_pika.connect(rabbitmq) as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), "q", timeout=60)
        async with queue.iterator(timeout=60) as messages:
            message = await anext(messages)
            assert message.body == b"hello"
            await message.ack()


def test_rabbitmq_listens_on_this_machine_only(rabbitmq_server: RabbitServer) -> None:
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line}
    everywhere = Path("/proc/net/tcp6").read_text()
    for name, port in rabbitmq_server.ports.items():
        assert f"0100007F:{port:04X}" in listening, name
        assert f"{'0' * 32}:{port:04X} " not in everywhere, name


async def test_redis_really_runs_and_starts_empty(redis: str) -> None:
    async with Redis.from_url(redis) as client:
        assert await client.dbsize() == 0
        await client.set("left", "behind")


async def test_redis_knows_nothing_of_the_last_test(redis: str) -> None:
    async with Redis.from_url(redis) as client:
        assert await client.get("left") is None


OWNER = """
import signal, sys
from tests.services.shared import Session
session = Session.begin()
session.postgres("18"), session.redis(), session.rabbitmq()
print(session.root, flush=True)
sys.stdin.read()
session.end()
"""


def processes_of(root: str) -> list[str]:
    """The command lines that name a directory of a session."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            lines += [line] if root in line else []
    return lines


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
def test_a_test_session_leaves_no_process_and_no_file_behind_however_it_ends(killed: bool) -> None:
    owned = {key: value for key, value in os.environ.items() if key not in ("NMS_TEST_OWNER", "NMS_TEST_ROOT")}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=owned | {"PYTHONPATH": str(Path.cwd())},
    )
    assert owner.stdout is not None
    root = owner.stdout.readline().strip()
    assert len(processes_of(root)) >= 6, "three servers and their keepers"
    if killed:
        owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert wait_until(lambda: not processes_of(root) and not Path(root).exists(), 20), processes_of(root)


def test_workers_of_one_session_share_a_server(services: Session) -> None:
    port = services.redis().port  # first of all: a server that the other process began would hold its pipes open
    other = subprocess.run(
        [sys.executable, "-c", "from tests.services.shared import Session; print(Session.begin().redis().port)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert int(other.stdout) == port
