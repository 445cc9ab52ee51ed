"""A raw HTTP/1.1 connection for load: one request in flight, as little of our own time as possible."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    head: bytes
    body: bytes


class ConnectionGone(Exception):
    """The server closed the connection before it had answered."""


class Connection(asyncio.Protocol):
    """Keeps alive; `ask` sends one request and waits for the whole answer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._whole = 0
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are no subclass.
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> Answer:
        """Send a request; raises ConnectionGone."""
        self._buffer, self._whole = b"", 0
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._whole:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._whole = end + 4 + length_of(self._buffer[:end].lower())
        if len(self._buffer) >= self._whole and self._waiting is not None:
            head, _, body = self._buffer.partition(b"\r\n\r\n")
            waiting, self._waiting = self._waiting, None
            waiting.set_result(Answer(int(head[9:12]), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionGone(str(exc or "closed by the server")))

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


def length_of(head: bytes) -> int:
    """The Content-Length of a lower-case head; 0 where there is none, as with 204."""
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def connect(port: int, source: str = HOST) -> Connection:
    """A connection from an address of this machine: all of 127.0.0.0/8 is its own."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, HOST, port, local_addr=(source, 0))
    return connection


def get(path: str, token: str = "") -> bytes:
    """The bytes of a GET."""
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{bearer}\r\n".encode()


def post_form(path: str, form: Mapping[str, str]) -> bytes:
    """The bytes of a POST of a form."""
    body = urlencode(form).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
