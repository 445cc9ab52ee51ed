"""A connection as the HTTP library wants it, straight on the event loop: what comes is kept until it is read."""

import asyncio
import select
import ssl
from collections import deque
from typing import Any, Final, Self

from httpcore2 import AsyncNetworkStream, ConnectError, ConnectTimeout, ReadError, ReadTimeout, WriteError, WriteTimeout

HELD_BYTES: Final = 256 * 1024
"""A remote that sends faster than is read is not listened to while so much waits."""


class Wire(asyncio.Protocol):
    """Both directions of one connection; `lost` is why it broke, `ended` that nothing more will come."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.ended = False
        self.lost: BaseException | None = None
        self.parts: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._reading: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open; called again with the transport of TLS."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self.parts.append(data)
        self._size += len(data)
        if self._size > HELD_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        """The remote sends nothing more."""
        self.ended = True
        _wake(self._reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing goes either way any more."""
        self.ended, self.lost = True, exc
        _wake(self._reading)
        _wake(self._room)

    def pause_writing(self) -> None:
        """The remote does not take what was written."""
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It takes again."""
        room, self._room = self._room, None
        _wake(room)

    async def read(self, most: int) -> bytes:
        """At most so many bytes of what came, at the end none; raises OSError."""
        while not self.parts:
            if self.lost is not None:
                raise ConnectionResetError from self.lost
            if self.ended:
                return b""
            self._reading = asyncio.get_running_loop().create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        data = self.parts.popleft()
        if len(data) > most:
            self.parts.appendleft(data[most:])
            data = data[:most]
        self._size -= len(data)
        if self._paused and self._size <= HELD_BYTES // 2:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more. Raises OSError."""
        if self.lost is not None or self.transport.is_closing():
            raise ConnectionResetError from self.lost
        self.transport.write(data)
        if self._room is not None:
            await self._room
            if self.lost is not None:
                raise ConnectionResetError from self.lost


class Stream(AsyncNetworkStream):
    """What the pool of HTTP connections reads from and writes to."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._readable = select.poll()
        self._readable.register(wire.transport.get_extra_info("socket").fileno(), select.POLLIN)

    @classmethod
    async def connect(cls, address: str, port: int, seconds: float) -> Self:
        """Connect to an address; raises ConnectError, ConnectTimeout."""
        try:
            async with asyncio.timeout(seconds):
                _, wire = await asyncio.get_running_loop().create_connection(Wire, address, port)
        except TimeoutError as error:
            raise ConnectTimeout(error) from error
        except OSError as error:
            raise ConnectError(error) from error
        return cls(wire)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most so many bytes, none at the end; raises ReadError, ReadTimeout."""
        try:
            async with asyncio.timeout(timeout):
                return await self._wire.read(max_bytes)
        except TimeoutError as error:
            raise ReadTimeout(error) from error
        except OSError as error:
            raise ReadError(error) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send; raises WriteError, WriteTimeout."""
        try:
            async with asyncio.timeout(timeout):
                await self._wire.write(buffer)
        except TimeoutError as error:
            raise WriteTimeout(error) from error
        except OSError as error:
            raise WriteError(error) from error

    async def aclose(self) -> None:
        """Let go of it; what was not sent is dropped."""
        self._wire.transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        """Agree on TLS; raises ConnectError (with what went wrong as its cause), ConnectTimeout."""
        wire, loop = self._wire, asyncio.get_running_loop()
        try:
            if wire.parts or wire.ended:
                # What was said before TLS, by whomever, must not be taken for an answer.
                raise ConnectionResetError
            async with asyncio.timeout(timeout):
                wire.transport = await loop.start_tls(
                    wire.transport, wire, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            wire.transport.abort()
            raise ConnectTimeout(error) from error
        except (ssl.SSLError, OSError) as error:
            wire.transport.abort()
            raise ConnectError(error) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        """What the pool asks for: whether something came unasked for (or the end), and the TLS in use."""
        if info == "is_readable":
            wire = self._wire
            return wire.ended or bool(wire.parts) or wire.transport.is_closing() or bool(self._readable.poll(0))
        return self._wire.transport.get_extra_info(info)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
