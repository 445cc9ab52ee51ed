"""HTTP/1.1 over asyncio streams, low enough to break: requests are read as they come, answers are bytes."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

LINE_BYTES = 1 << 16
JSON = {"Content-Type": "application/json"}


class Gone(Exception):
    """The client closed the connection, or what it sends is no HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `prefix` is the part of the path that chose a behaviour and is in no route."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    prefix: str = ""

    @property
    def path(self) -> str:
        """The path of the route, without the prefix and the query."""
        return urlsplit(self.target).path.removeprefix(self.prefix)

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; the last one of a name counts."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode()))

    @property
    def closes(self) -> bool:
        """Whether the client wants the connection closed after the answer."""
        return self.header("connection").lower() == "close"

    def header(self, name: str) -> str:
        """A header by its name in any case; empty when it is not there."""
        return self.headers.get(name.lower(), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, before it is bytes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, status: int, document: Any = None, **headers: str) -> "Answer":
        """An answer of JSON; headers are named with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if document is None:
            return cls(status, named)
        return cls(status, {**JSON, **named}, json.dumps(document).encode())

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def with_headers(self, **headers: str) -> "Answer":
        """The same with more headers, named as in `of`."""
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def with_json(self, document: Any) -> "Answer":
        """The same with another body."""
        return replace(self, body=json.dumps(document).encode())

    def head(self, length: int | None = None) -> bytes:
        """Status line and headers; Content-Length is that of the body unless another one is given (-1: none)."""
        length = len(self.body) if length is None else length
        sized = {} if length < 0 or self.status in (204, 304) else {"Content-Length": str(length)}
        reason = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Unknown"
        lines = [f"{name}: {value}" for name, value in {**self.headers, **sized}.items()]
        return "\r\n".join([f"HTTP/1.1 {self.status} {reason}", *lines, "", ""]).encode("latin-1")


class Wire:
    """One connection; `sent` counts the bytes it took, `status` is that of the last whole answer (0: none)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self.sent, self.status = reader, writer, 0, 0

    async def read(self) -> Request | None:
        """The next request; None when the client closed between two. Raises Gone."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as cut:
            if not cut.partial:
                return None
            raise Gone from cut
        except asyncio.LimitOverrunError as long:
            raise Gone from long
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        try:
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            return Request(method, target, headers, await self._read_body(headers))
        except (ValueError, asyncio.IncompleteReadError) as broken:
            raise Gone from broken

    async def send(self, answer: Answer, *, body: bool = True) -> None:
        """Send an answer as HTTP wants it."""
        await self.write(answer.head() + (answer.body if body else b""))
        self.status = answer.status

    async def write(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        for part in parts:
            self._writer.write(part)
            self.sent += len(part)
        await self._writer.drain()

    async def write_all(self, parts: Iterable[bytes]) -> None:
        """Send many parts, one after the other, as fast as the client reads."""
        for part in parts:
            await self.write(part)

    async def hold(self, seconds: float) -> None:
        """Say nothing until the client has gone or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._reader.read(LINE_BYTES):
                    continue

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        raw = self._writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close in order."""
        self._writer.close()
        with suppress(ConnectionError, TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await self._read_chunks()
        return await self._reader.readexactly(int(headers.get("content-length", 0)))

    async def _read_chunks(self) -> bytes:
        parts = []
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
        return b"".join(parts)
