"""What the warehouse is measured beside: servers that do the least for a record or a page of a hundred.

`uvicorn --factory bench.warehouse.bare:ready` passes the JSON text on that stands beside the columns,
`bench.warehouse.bare:built` has PostgreSQL build it for each request, `bench.warehouse.bare:routed` is FastAPI's way:
routes, and pydantic models of what asyncpg answers. None asks who calls, checks a cost, or says how to go back.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

import asyncpg
from fastapi import FastAPI, Header, HTTPException, Query, Response
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

DATABASE = "BENCH_DSN"
PAGE, FOUND = 100, 20
COLUMNS = '"userId" bigint, id bigint primary key, title text collate "C", body text, version bigint not null unique'
TABLES = (
    f"create table ready ({COLUMNS}, json text not null)",
    f"create table built ({COLUMNS})",
    *(f"create index on {table} ({column}, id)" for table in ("ready", "built") for column in ('"userId"', "title")),
)
"""The first holds the JSON text, the second does not: who builds it reads no page of it."""


@dataclass(frozen=True, slots=True)
class Statements:
    """What a server asks; each answers one row of a text."""

    record: str
    page: str
    found: str
    newest: str


def _statements(table: str, one: str, glued: str) -> Statements:
    rows = f"(select * from {table} where id > $1 order by id limit {PAGE}) as r"
    found = f'(select * from {table} where "userId" = $1 order by title desc, id desc limit {FOUND}) as r'
    return Statements(
        f"select {one}, version from {table} as r where id = $1",
        f"select {glued.format(order='id')}, max(id) as last from {rows}",
        f"select {glued.format(order='title desc, id desc')}, null as last from {found}",
        f"select max(version) from {table}",
    )


BUILT = "json_build_object('userId', r.\"userId\", 'id', r.id, 'title', r.title, 'body', r.body)"
ASKED: Mapping[str, Statements] = {
    "ready": _statements("ready", "json", "'[' || string_agg(r.json, ',' order by {order}) || ']'"),
    "built": _statements("built", f"{BUILT}::text", f"json_agg({BUILT} order by {{order}})::text"),
}
Answer = tuple[int, bytes, bytes]
"""Status, entity tag, body."""


class Database:
    """The pool of a process, which sends no reset when a connection is given back."""

    pool: asyncpg.Pool

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.pool = await asyncpg.create_pool(os.environ[DATABASE], min_size=1, max_size=10, reset=_keep)
        yield
        await self.pool.close()


async def _keep(connection: asyncpg.Connection) -> None:
    del connection


def ready() -> ASGIApp:
    """Bare ASGI that passes the ready text on."""
    return bare(ASKED["ready"])


def built() -> ASGIApp:
    """Bare ASGI whose JSON is built for each request."""
    return bare(ASKED["built"])


def bare(asked: Statements) -> ASGIApp:
    """An ASGI app of one callable."""
    database = Database()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(database, receive, send)
        elif scope["path"] == "/healthz":
            await _send(send, (200, b"", b"{}"))
        else:
            await _send(send, await _answer(database, asked, scope))

    return app


async def _answer(database: Database, asked: Statements, scope: Scope) -> Answer:
    path: str = scope["path"]
    known = next((value for name, value in scope["headers"] if name == b"if-none-match"), None)
    if path.startswith("/posts/"):
        row = await database.pool.fetchrow(asked.record, int(path[7:]))
        if row is None:
            return 404, b"", b"{}"
        tag = b'"%d"' % row[1]
        return (304, tag, b"") if tag == known else (200, tag, row[0].encode())
    if known is not None:
        tag = b'"%d"' % await database.pool.fetchval(asked.newest)
        if tag == known:
            return 304, tag, b""
    query = dict(parse_qsl(scope["query_string"].decode()))
    text, value = (asked.found, query["userId"]) if "userId" in query else (asked.page, query.get("after", "0"))
    (row,) = await database.pool.fetch(text, int(value))
    return 200, b"", b'{"items":%b,"next":%b}' % (row[0].encode(), b"null" if row[1] is None else b"%d" % row[1])


async def _send(send: Send, answer: Answer) -> None:
    status, tag, body = answer
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if tag:
        headers.append((b"etag", tag))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(database: Database, receive: Receive, send: Send) -> None:
    await receive()
    async with database.opened():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Post(BaseModel):
    """A record as FastAPI shows it."""

    userId: int | None  # noqa: N815 as the API has it
    id: int
    title: str | None
    body: str | None


class Posts(BaseModel):
    """A page of them."""

    items: Sequence[Post]
    next: int | None


PLAIN = 'select "userId", id, title, body from built'
Ask = Callable[..., Awaitable[Sequence[asyncpg.Record]]]


def routed() -> ASGIApp:
    """Plain FastAPI."""
    database = Database()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database.opened():
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {}

    @app.get("/posts/{number}")
    async def get_post(number: int) -> Post:
        row = await database.pool.fetchrow(f"{PLAIN} where id = $1", number)
        if row is None:
            raise HTTPException(404)
        return Post(**row)

    @app.get("/posts", response_model=Posts)
    async def list_posts(
        after: int = 0,
        user: Annotated[int | None, Query(alias="userId")] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Posts | Response:
        if if_none_match is not None:
            tag = f'"{await database.pool.fetchval(ASKED["built"].newest)}"'
            if tag == if_none_match:
                return Response(status_code=304, headers={"ETag": tag})
        if user is not None:
            order = f"order by title desc, id desc limit {FOUND}"
            rows = await database.pool.fetch(f'{PLAIN} where "userId" = $1 {order}', user)
        else:
            rows = await database.pool.fetch(f"{PLAIN} where id > $1 order by id limit {PAGE}", after)
        return Posts(items=[Post(**row) for row in rows], next=rows[-1]["id"] if user is None and rows else None)

    return app
