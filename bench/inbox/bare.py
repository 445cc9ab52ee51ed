"""What the inbox is measured beside: servers that do the least for a signed event that is stored before it is answered.

`uvicorn --factory bench.inbox.bare:shared` (what arrives during a commit shares the next), `bench.inbox.bare:alone` (a
commit for each request), `bench.inbox.bare:routed` (FastAPI's way: a route, a commit for each request). All verify
Standard Webhooks v1 with one secret and answer the id; a duplicate is told from what is new by a unique key.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

import asyncpg
from fastapi import FastAPI, Header, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

DATABASE, SECRET = "BENCH_DSN", "BENCH_SECRET"
TABLE = """
create table event (
    id uuid primary key, key text not null unique, body bytea not null, received_at timestamptz not null default now()
)
"""
INSERT = """
insert into event (id, key, body) select * from unnest($1::uuid[], $2::text[], $3::bytea[])
on conflict (key) do nothing returning id
"""
MOST = 512
Event = tuple[UUID, str, bytes]
Put = Callable[[Event], Awaitable[bool]]


class Storing:
    """The pool of a process, and its lane."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Event, asyncio.Future[bool]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.pool: asyncpg.Pool

    async def put_alone(self, event: Event) -> bool:
        """Store one event; whether it was new."""
        return bool(await self.pool.fetch(INSERT, [event[0]], [event[1]], [event[2]]))

    async def put_shared(self, event: Event) -> bool:
        """Store one event with those that came meanwhile; whether it was new."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        return await future

    async def _write(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            ids, keys, bodies = zip(*(event for event, _ in taken), strict=True)
            new = {row["id"] for row in await self.pool.fetch(INSERT, ids, keys, bodies)}
            for event, future in taken:
                future.set_result(event[0] in new)
        self._task = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """With a pool that sends no reset when a connection is given back."""
        self.pool = await asyncpg.create_pool(os.environ[DATABASE], min_size=1, max_size=10, reset=_keep)
        yield
        await self.pool.close()


async def _keep(connection: asyncpg.Connection) -> None:
    del connection


def is_signed(secret: bytes, told: str, sent: str, signatures: str, body: bytes) -> bool:
    """Whether a request is signed by Standard Webhooks v1, at most 300 s ago."""
    if not sent.isdecimal() or abs(time.time() - int(sent)) > 300:
        return False
    wanted = hmac.new(secret, f"{told}.{sent}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(wanted).decode()
    return any(hmac.compare_digest(expected, one) for one in signatures.split())


def shared() -> ASGIApp:
    """Bare ASGI with shared commits."""
    storing = Storing()
    return bare(storing, storing.put_shared)


def alone() -> ASGIApp:
    """Bare ASGI with a commit for each request."""
    storing = Storing()
    return bare(storing, storing.put_alone)


def bare(storing: Storing, put: Put) -> ASGIApp:
    """An ASGI app of one callable."""
    secret = os.environ[SECRET].encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(storing, receive, send)
            return
        headers = dict(scope["headers"])
        body = await _read(receive)
        told, sent, signatures = (headers.get(b"webhook-" + name, b"").decode() for name in NAMES)
        if scope["method"] == "GET":
            await _answer(send, 200, b"{}")
        elif not is_signed(secret, told, sent, signatures, body):
            await _answer(send, 401, b"{}")
        else:
            event = (uuid4(), told, body)
            new = await put(event)
            await _answer(send, 202 if new else 200, b'{"id":"%s"}' % str(event[0]).encode())

    return app


NAMES: Sequence[bytes] = (b"id", b"timestamp", b"signature")


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        chunk: bytes = message.get("body", b"")
        body += chunk
        if not message.get("more_body"):
            return body


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(storing: Storing, receive: Receive, send: Send) -> None:
    await receive()
    async with storing.opened():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def routed() -> FastAPI:
    """A FastAPI route as one writes it."""
    storing = Storing()
    secret = os.environ[SECRET].encode()

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with storing.opened():
            yield

    app = FastAPI(lifespan=live)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {}

    @app.post("/in/{endpoint}", status_code=202)
    async def receive(
        endpoint: str,
        request: Request,
        response: Response,
        webhook_id: Annotated[str, Header()],
        webhook_signature: Annotated[str, Header()],
    ) -> dict[str, str]:
        body = await request.body()
        if not is_signed(secret, webhook_id, request.headers["webhook-timestamp"], webhook_signature, body):
            response.status_code = 401
            return {}
        event = (uuid4(), webhook_id, body)
        if not await storing.put_alone(event):
            response.status_code = 200
        return {"id": str(event[0]), "endpoint": endpoint}

    return app
