"""The connection below outbound HTTP: nothing is lost, nothing is held without bound, nothing counts before TLS."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from httpcore2 import ConnectError, ReadError, WriteError

from nms.common.egress.wire import HELD_BYTES, Stream
from tests.waiting import eventually

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MEGABYTE = 1 << 20


@asynccontextmanager
async def connected(talk: Talk) -> AsyncIterator[Stream]:
    """A stream to a remote that talks so."""
    talking: list[Any] = []

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.append(asyncio.current_task())
        with suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    stream = await Stream.connect("127.0.0.1", server.sockets[0].getsockname()[1], 5)
    try:
        yield stream
    finally:
        await stream.aclose()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*talking)


def seen(look: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return look()

    return ask


async def test_all_that_is_sent_comes_in_order_and_little_of_it_is_held() -> None:
    sent = bytes(range(256)) * (16 * MEGABYTE // 256)

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with connected(talk) as stream:
        wire, came = stream._wire, bytearray()
        await eventually(seen(lambda: wire._paused))
        assert sum(map(len, wire.parts)) <= 4 * HELD_BYTES
        while part := await stream.read(65_536):
            assert len(part) <= 65_536
            came += part
    assert came == sent


async def test_what_is_written_waits_for_a_remote_that_does_not_read() -> None:
    ready = asyncio.Event()
    counted = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ready.wait()
        counted.append(len(await reader.readexactly(32 * MEGABYTE)))

    async with connected(talk) as stream:
        writing = asyncio.create_task(stream.write(bytes(32 * MEGABYTE)))
        await eventually(seen(lambda: stream._wire._room is not None))
        ready.set()
        await writing
        await eventually(seen(lambda: bool(counted)))
    assert counted == [32 * MEGABYTE]


async def test_a_connection_that_broke_is_an_error_to_readers_and_writers_and_never_an_end() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with connected(talk) as stream:
        with pytest.raises(ReadError):
            await stream.read(1)
        with pytest.raises(WriteError):
            await stream.write(b"x")
        assert stream.get_extra_info("is_readable")


async def test_what_is_said_before_tls_is_no_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    async with connected(talk) as stream:
        await eventually(seen(lambda: bool(stream._wire.parts)))
        with pytest.raises(ConnectError):
            await stream.start_tls(ssl.create_default_context(), "api.example.test", 5)
