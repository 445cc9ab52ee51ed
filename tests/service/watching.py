"""One who watches the documents of a role that listens on a port, and one who changes them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from nms.cfg.documents import apply_changeset
from nms.cfg.main import create_app
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.waiting import PATIENCE, eventually


@dataclass
class Event:
    """A block of the stream; a comment or an id may stand alone."""

    name: str = ""
    id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> tuple[int, str, str]:
        """Revision, action and name of a changed document."""
        return self.data["revision"], self.data["action"], self.data["name"]


@dataclass
class Watched:
    """The role cfg as it listens."""

    app: FastAPI
    address: str
    settings: Settings

    def client(self, *scopes: str) -> httpx2.AsyncClient:
        """A client with these scopes, config:read by itself."""
        token = mint_token(self.settings, scopes or ["config:read"], subject="ada")
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self.address, headers=headers, timeout=PATIENCE)

    @asynccontextmanager
    async def watch(self, last: int | None = None, **query: Any) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of one watch; without `query` what comes from now on."""
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        async with (
            self.client() as client,
            client.stream("GET", "/watch", params=query, headers=headers) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            events = read_events(answer)
            assert (await anext(events)).name == ""
            yield events


async def read_events(answer: httpx2.Response) -> AsyncIterator[Event]:
    """Every block of a stream; the field `retry` is left out."""
    event = Event()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        match name:
            case "event":
                event.name = value
            case "id":
                event.id = int(value)
            case "data":
                event.data = json.loads(value)
            case "" if not line:
                yield event
                event = Event()


async def take(events: AsyncIterator[Event], count: int, name: str = "changed") -> list[Event]:
    """The next events of a name; blocks without a name are passed by, others fail."""
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            event = await anext(events)
            assert event.name in ("", name), event
            found += [event] if event.name else []
    return found


@asynccontextmanager
async def unread(watched: Watched) -> AsyncIterator[asyncio.StreamReader]:
    """A watch from the beginning whose connection takes next to nothing until it is read."""
    client, port = socket.socket(), int(watched.address.rpartition(":")[2])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=client, limit=4096)
    token = mint_token(watched.settings, ["config:read"], subject="ada")
    writer.write(f"GET /watch?since=0 HTTP/1.1\r\nHost: cfg\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.close()


@asynccontextmanager
async def listening(settings: Settings, buffer: int = 0) -> AsyncIterator[Watched]:
    """The role on a free port of this process; its connections have a small buffer where one is given."""
    app, listener = create_app(settings), socket.create_server(("127.0.0.1", 0))
    if buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve(sockets=[listener]))

    async def started() -> bool:
        return server.started

    await eventually(started)
    try:
        yield Watched(app, f"http://127.0.0.1:{listener.getsockname()[1]}", settings)
    finally:
        app.state.life.stop.set()
        server.should_exit = True
        await asyncio.wait_for(task, PATIENCE)


def system(name: str, **parts: Any) -> dict[str, Any]:
    """A document that needs no other one."""
    return {"kind": "system", "name": name, "type": "postgres", "dsn": "env://BILLING_DSN", **parts}


def endpoint(name: str) -> dict[str, Any]:
    """One of another kind."""
    return {"kind": "endpoint", "name": name, "scheme": {"type": "standard", "secrets": ["env://HOOK"]}}


async def publish(*documents: dict[str, Any], prune: bool = False) -> int:
    """Store documents; the revision."""
    changeset = Changeset([Draft(each) for each in documents], prune=prune, author="test")
    return (await apply_changeset(await DocumentRepository.open(), changeset)).revision
