"""A remote for tests of outbound HTTP: a real server on loopback that behaves as the test says, byte by byte."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Remote:
    """What was seen: the heads of requests, and to which of our addresses each connection came."""

    behave: Behaviour
    port: int = 0
    greeting: bytes = b""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://api.example.test:{self.port}{path}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.reached.append(writer.get_extra_info("sockname")[0])
        with suppress(OSError, EOFError, asyncio.CancelledError):
            writer.write(self.greeting)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(_length(head)))
                await self.behave(reader, writer)
                await writer.drain()
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self.tasks.discard(task)


def _length(head: bytes) -> int:
    found = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(found[0]) if found else 0


@asynccontextmanager
async def listening(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Remote]:
    """A remote on every loopback address of IPv4."""
    remote = Remote(behave)
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: remote.names.append(name)
    server = await asyncio.start_server(remote.accept, "0.0.0.0", 0, family=socket.AF_INET, ssl=tls)
    remote.port = server.sockets[0].getsockname()[1]
    try:
        yield remote
    finally:
        server.close()
        for task in remote.tasks:
            task.cancel()
        await asyncio.gather(*remote.tasks)


def saying(*parts: bytes, close: bool = False, pause: float = 0.0) -> Behaviour:
    """Says these bytes, with a pause after each part."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        if close:
            raise EOFError

    return say


def answering(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> Behaviour:
    """A whole answer."""
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    return saying(b"\r\n".join(lines) + b"\r\n\r\n" + body)


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Behaviour:
    """Never stops until the other side goes away."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return say


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never says a word."""
    await reader.read()
    raise EOFError


class Names:
    """A resolver of the test: each look-up gets the next answers, and the last ones for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
