"""Exports of a role in a process of its own: no faster than the caller reads, cut recognisably, of bounded memory."""

import asyncio
import hashlib
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.role_process import RoleProcess, resident_mb, running
from tests.service.test_export import hash_of
from tests.service.warehouse import connected, make_entities
from tests.service.web_client import problem_of
from tests.waiting import eventually

APP = "nms.warehouse.main:app"
MANY = 200_000
SOME = 80_000
"""Three times what stands in sockets and buffers."""


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@asynccontextmanager
async def serving(settings: Settings, folder: Path, **environment: str) -> AsyncIterator[RoleProcess]:
    assert settings.db_dwh_dsn is not None
    given = {"DB_DWH_DSN": settings.db_dwh_dsn.get_secret_value(), "DATA_DIR": str(settings.data_dir)}
    async with running(APP, folder, environment={**given, **environment}) as role:
        yield role


def client_of(settings: Settings, role: RoleProcess) -> httpx2.AsyncClient:
    token = mint_token(settings, ["entities:read", "tasks:read", "tasks:write"], subject="ada")
    return httpx2.AsyncClient(base_url=role.address, headers={"Authorization": f"Bearer {token}"}, timeout=90)


async def fill(connection: asyncpg.Connection, count: int) -> None:
    """Records as the triggers would make them, without their search: that would take most of the test."""
    await connection.execute("alter table entity.posts disable trigger user")
    await connection.execute(
        'insert into entity.posts (id, "userId", title, body, _sequence, _created_at, _updated_at, _json)'
        " select n, n % 10, 'title ' || n, h, nextval('warehouse.sequence'), now(), now(), format("
        """'{"userId":%s,"id":%s,"title":"title %s","body":"%s"}', n % 10, n, n, h)"""
        " from (select n, repeat(md5(n::text), 4) as h from generate_series(1, $1::bigint) n) as made",
        count,
    )
    await connection.execute("alter table entity.posts enable trigger user")


async def exporting(connection: asyncpg.Connection, state: str = "%") -> list[int]:
    """Sessions with the transaction of an export, in a state."""
    rows = await connection.fetch(
        "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and xact_start is not null and query like '%_json%' and state like $1",
        state,
    )
    return [row["pid"] for row in rows]


class Reader:
    """A caller who reads as much as he likes of an answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def begin(cls, client: httpx2.AsyncClient, path: str) -> "AsyncIterator[Reader]":
        """Ask, and read no more than the head."""
        url = client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=4096)
        token = client.headers["authorization"]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: nms\r\nAuthorization: {token}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"transfer-encoding: chunked" in head.lower()
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def rest(self) -> tuple[bytes, bool]:
        """What is still to come, and whether it came to its end."""
        body = bytearray()
        while size := await self._reader.readline():
            if size == b"0\r\n":
                return bytes(body), True
            try:
                body += (await self._reader.readexactly(int(size, 16) + 2))[:-2]
            except asyncio.IncompleteReadError as error:
                return bytes(body + error.partial), False
        return bytes(body), False

    def leave(self) -> None:
        """Go away."""
        self._writer.transport.abort()


def closing_of(body: bytes) -> dict[str, Any] | None:
    """The closing record of an NDJSON, where it has one that fits."""
    before, newline, last = body.removesuffix(b"\n").rpartition(b"\n")
    told = json.loads(last).get("_end") if body.endswith(b"\n") else None
    if told is not None:
        assert told["content_sha256"] == hashlib.sha256(before + newline).hexdigest()
    return told


async def test_who_reads_slowly_gets_one_snapshot_and_holds_no_memory(settings: Settings, tmp_path: Path) -> None:
    await make_entities()
    async with (
        connected(settings) as connection, serving(settings, tmp_path) as role, client_of(settings, role) as client,
    ):  # fmt: skip
        await fill(connection, SOME)
        rows, sha256 = await hash_of(connection, "posts")
        before = resident_mb(role.process.pid)

        async def waiting() -> bool:
            return bool(await exporting(connection, "idle in transaction"))

        async with Reader.begin(client, "/posts/export") as reader:
            # The role waits for its caller, and asks the database for nothing meanwhile.
            await eventually(waiting)
            await connection.execute("delete from entity.posts where id % 300 = 0")
            await connection.execute("update entity.posts set title = 'another' where id % 300 = 1")
            await connection.execute("insert into entity.posts (id, title) values (0, 'later')")
            assert resident_mb(role.process.pid) - before < 32
            body, whole = await reader.rest()
        assert whole
        told = closing_of(body)
        assert told is not None
        assert (told["rows"], told["sha256"]) == (rows, sha256)
        # What came later is behind the sequence that it tells.
        behind = await connection.fetchval("select count(*) from entity.posts where _sequence > $1", told["sequence"])
        assert behind == len(range(1, SOME + 1, 300)) + 1


def assert_cut(body: bytes, whole: bool) -> None:
    assert not whole
    assert b"_end" not in body
    assert b"#end" not in body


async def test_a_cut_export_has_no_closing_record(settings: Settings, tmp_path: Path) -> None:
    await make_entities()
    async with (
        connected(settings) as connection,
        serving(settings, tmp_path) as role,
        client_of(settings, role) as client,
    ):
        await fill(connection, SOME)

        async def begun() -> list[int]:
            return await exporting(connection, "idle in transaction")

        async def over() -> bool:
            return not await exporting(connection)

        for path in ("/posts/export", "/posts/export?format=csv"):
            async with Reader.begin(client, path) as reader:
                (pid,) = await eventually(begun)
                await connection.execute("select pg_terminate_backend($1)", pid)
                assert_cut(*await reader.rest())
        async with Reader.begin(client, "/posts/export") as reader:
            await eventually(begun)
            reader.leave()
            await eventually(over)
        assert "its caller went away" in role.log
        whole = await client.get("/posts/export?id.lt=3")
        assert (closing_of(whole.content) or {})["rows"] == 2
    async with (
        serving(settings, tmp_path, WAREHOUSE_EXPORT_SECONDS="1") as role,
        client_of(settings, role) as client,
        Reader.begin(client, "/posts/export") as reader,
    ):

        async def told_why() -> bool:
            return "longer than 1 s" in role.log

        await eventually(told_why)
        assert_cut(*await reader.rest())


async def test_only_so_many_are_streamed_at_once_and_none_keeps_a_process_from_ending(
    settings: Settings, tmp_path: Path
) -> None:
    await make_entities()
    async with (
        connected(settings) as connection, serving(settings, tmp_path) as role, client_of(settings, role) as client,
    ):  # fmt: skip
        await fill(connection, SOME)
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(Reader.begin(client, "/posts/export")) for _ in range(3)]
            refused = await client.get("/posts/export")
            problem_of(refused, 503, "exports-busy")
            assert refused.headers["retry-after"] == "10"
            readers.pop().leave()

            async def taken() -> bool:
                return (await client.get("/posts/export?id.lt=3")).status_code == 200

            await eventually(taken)
            async with asyncio.TaskGroup() as group:
                bodies = [group.create_task(reader.rest()) for reader in readers]
                assert await role.stop() in (0, -signal.SIGTERM)
            for body in bodies:
                assert_cut(*body.result())


async def test_memory_does_not_grow_with_the_export(settings: Settings, tmp_path: Path) -> None:
    await make_entities()
    async with (
        connected(settings) as connection,
        serving(settings, tmp_path) as role,
        client_of(settings, role) as client,
    ):
        await fill(connection, MANY)
        await client.get("/posts/export?id.lt=3")
        # Its highest mark begins anew (proc_pid_clear_refs).
        Path(f"/proc/{role.process.pid}/clear_refs").write_text("5")
        before = peak_mb(role.process.pid)
        for query in ("format=ndjson", "format=csv&compression=gzip", "format=parquet"):
            size = 0
            async with client.stream("GET", f"/posts/export?{query}") as answer:
                async for chunk in answer.aiter_raw():
                    size += len(chunk)
            assert size > 1_000_000
            # With pyarrow, which takes 42 MB when it is loaded.
            assert peak_mb(role.process.pid) - before < (64 if query == "format=parquet" else 32)


def peak_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
