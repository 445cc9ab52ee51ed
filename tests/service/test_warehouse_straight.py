"""What comes whole is read past ASGI: answered as all else is, byte for byte."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.role_process import UVICORN, RoleProcess, resident_mb, running
from tests.service.test_roles import dsns_of
from tests.service.test_warehouse_reads import COMMENTS, PARTS, POSTS, put_posts
from tests.service.warehouse import connected, make_entities
from tests.waiting import PATIENCE, eventually

OWN_ID = "an-id-of-my-own"
# What is asked, by which method, with which lines more.
PATHS = (
    "/posts",
    "/posts/",
    "/posts?",
    "/posts?limit=5",
    "/posts?limit=5&offset=2",
    "/posts?sort=-title&limit=3&fields=id,title&count=exact",
    "/posts?userId=1&title=title%201&limit=2&count=estimated",
    "/posts?q=body+3&lineage=1",
    "/posts?filter=id%20lt%205%20or%20title%20is%20null",
    "/posts?limit=101",
    "/posts?nothing=1&sort=body",
    "/posts?cursor=forged",
    "/posts?limit=5&cursor=",
    "/posts?limit=%FF",
    "/posts/3",
    "/posts/3/",
    "/posts/%33",
    "/p%6fsts/3",
    "/posts/3?fields=title&lineage=true",
    "/posts/3?limit=1",
    "/posts/4000",
    "/posts/x",
    "/posts/%FF",
    "/posts/1%00",
    "/parts/a%2Fb%2Cc,7",
    "/parts/a%2Fb%2Cc",
    "/parts/export",
    "/parts/%65xport,1",
    "/posts/3/comments",
    "/posts/3/comments?limit=1&id.gt=1",
    "/posts/4000/comments",
    "/posts/3/nothing",
    "/posts/3/comments/4",
    "/nothing",
    "/nothing/1",
    "//posts",
    "/posts//",
    "/healthz",
    "/posts/export",
    "/tasks",
)
MORE = {
    "an id": f"X-Request-ID: {OWN_ID}\r\n",
    "a bad id": "X-Request-ID: ?\r\n",
    "two ids": f"X-Request-ID: {OWN_ID}\r\nX-Request-ID: another-id\r\n",
    "any tag": "If-None-Match: *\r\n",
    "two tags": 'If-None-Match: "x"\r\nIf-None-Match: "y"\r\n',
    "a body": "Content-Length: 2\r\n\r\n{}",
    "no token": "Authorization:\r\n",
    "two tokens": "Authorization: Bearer x\r\n",
}


class Caller:
    """One connection to a role."""

    def __init__(self, role: RoleProcess, token: str) -> None:
        self._port = int(role.address.rpartition(":")[2])
        self._token = token
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self) -> "Caller":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    def send(self, path: str, more: str = "", method: str = "GET") -> None:
        bearer = "" if more == MORE["no token"] else f"Authorization: Bearer {self._token}\r\n"
        more += "" if "\r\n\r\n" in more else "\r\n"
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: nms\r\n{bearer}{more}".encode())

    async def read(self, *, is_head: bool = False) -> tuple[int, dict[str, str], str]:
        """The status, headers and body of an answer; ids and times are alike."""
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            headers = dict(line.split(": ", 1) for line in lines)
            assert len(headers) == len(lines)
            size = 0 if is_head else int(headers.get("content-length", "0"))
            body = (await self.reader.readexactly(size)).decode()
        headers.pop("connection", "")
        for name in ("date", "x-request-id"):
            if headers[name] != OWN_ID:
                headers[name] = name
        if not 200 <= int(first.split(" ")[1]) < 300:
            # A problem tells the id of its request.
            headers.pop("content-length", "")
        return int(first.split(" ")[1]), headers, re.sub(r'"request_id": "[^"]+"', "ID", body)

    async def ask(self, path: str, more: str = "", method: str = "GET") -> tuple[int, dict[str, str], str]:
        self.send(path, more, method)
        return await self.read(is_head=method == "HEAD")


async def ask_both(role: RoleProcess, token: str, path: str, more: str = "") -> tuple[int, dict[str, str], str]:
    """The answer to a request that may be read straight, as it is to one that may not: its connection is not kept."""
    answers = []
    for end in ("", "Connection: close\r\n"):
        caller = await Caller(role, token).open()
        answers.append(await caller.ask(path, end + more))
        caller.writer.close()
    assert answers[0] == answers[1], path
    return answers[0]


@asynccontextmanager
async def serving(settings: Settings, folder: Path, **more: str) -> AsyncIterator[tuple[RoleProcess, str]]:
    """The role as users run it, and a token that it has seen."""
    token = mint_token(settings, ["entities:read"], subject="ada")
    environment = {**dsns_of(settings), **more}
    async with running("nms.warehouse.main:app", folder, server=UVICORN, environment=environment) as role:
        caller = await Caller(role, token).open()
        await caller.ask("/posts")
        caller.writer.close()
        yield role, token


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def person(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    await make_entities(POSTS, COMMENTS, PARTS)
    async with connected(settings) as connection:
        await put_posts(connection, 210)
        await connection.execute("insert into entity.comments select n, 3, 'c' from generate_series(1, 4) as n")
        await connection.execute("insert into entity.parts values ('a/b,c', 7, 'x'), ('export', 1, 'y')")
        yield connection


async def test_the_straight_way_answers_as_the_ordinary_one_and_in_order(
    settings: Settings, person: asyncpg.Connection, tmp_path: Path
) -> None:
    async with serving(settings, tmp_path) as (role, token):
        found = {path: await ask_both(role, token, path) for path in PATHS}
        assert {status for status, _, _ in found.values()} >= {200, 404, 422}
        for path in ("/posts?limit=5", "/posts/3", "/posts/3/comments"):
            for more in MORE.values():
                await ask_both(role, token, path, more)
            told = f"If-None-Match: {found[path][1]['etag']}\r\n"
            assert (await ask_both(role, token, path, told))[0] == 304
        answer = found["/posts?limit=5"]
        for way in ("next", "next", "prev", "prev"):
            link = re.search(rf'<([^>]+)>; rel="{way}"', answer[1]["link"])
            assert link is not None
            answer = await ask_both(role, token, f"/posts{link[1]}")
        assert answer[2].startswith('{"items":[{"id":1,')
        assert (await ask_both(role, "unknown", "/posts"))[0] == 401
        await read_in_order(role, token)
        assert "Traceback" not in role.log


async def read_in_order(role: RoleProcess, token: str) -> None:
    """Many requests sent at once, straight ones and others."""
    caller = await Caller(role, token).open()
    assert await caller.ask("/posts/3", method="HEAD") == (*(await caller.ask("/posts/3"))[:2], "")
    for number in range(1, 13):
        caller.send(f"/posts/{number}", method="HEAD" if number % 4 == 0 else "GET")
    for number in range(1, 13):
        status, _, body = await caller.read(is_head=number % 4 == 0)
        assert status == 200
        assert number % 4 == 0 or body.startswith(f'{{"id":{number},')
    caller.writer.close()


async def test_who_leaves_reads_slowly_or_waits_while_the_role_stops(
    settings: Settings, person: asyncpg.Connection, tmp_path: Path
) -> None:
    await person.execute("update entity.posts set body = repeat('x', 1000000) where id <= 6")
    async with serving(settings, tmp_path) as (role, token):
        async with person.transaction():
            await person.execute("lock table entity.posts")
            for path in ("/posts", "/posts/3"):
                caller = await Caller(role, token).open()
                caller.send(path)
                await eventually(lambda: waits(person))
                caller.writer.transport.abort()
        assert (await ask_both(role, token, "/posts/3"))[0] == 200
        await read_slowly(role, token)
        caller = await Caller(role, token).open()
        async with person.transaction():
            await person.execute("lock table entity.posts")
            caller.send("/posts/30")
            await eventually(lambda: waits(person))
            stopping = asyncio.create_task(role.stop())
            await eventually(lambda: stops(role))
        assert (await caller.read())[0] == 200
        await stopping
        caller.writer.close()
        assert "Traceback" not in role.log


async def read_slowly(role: RoleProcess, token: str) -> None:
    """Who does not read holds two pages of 6 MB at most, and others are served beside him."""
    first, path = await Caller(role, token).open(), "/posts?limit=6"
    await first.ask(path)
    before = resident_mb(role.process.pid)
    callers = [await Caller(role, token).open() for _ in range(3)]
    for caller in callers:
        for _ in range(10):
            caller.send(path)
    for _ in range(3):
        assert (await first.ask(path))[0] == 200
    assert resident_mb(role.process.pid) - before < len(callers) * 3 * 6 + 50
    for _ in range(10):
        assert (await callers[0].read())[0] == 200
    for caller in (first, *callers):
        caller.writer.transport.abort()


async def waits(person: asyncpg.Connection) -> bool:
    """Whether a read waits for the lock."""
    return bool(await person.fetchval("select exists (select from pg_locks where not granted)"))


async def stops(role: RoleProcess) -> bool:
    return "Shutting down" in role.log
