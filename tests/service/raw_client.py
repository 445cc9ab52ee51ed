"""A client that takes what comes: bytes, and how the connection ended."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.services.hostile.api import HostileApi
from tests.waiting import PATIENCE


@dataclass(frozen=True, slots=True)
class Seen:
    """What came; `end` is `closed`, `reset`, `silence` (nothing for a while) or `more` (it does not stop)."""

    data: bytes
    end: str

    @property
    def status(self) -> int:
        """The status of the answer, 0 without one."""
        first = self.data.split(b"\r\n")[0].split(b" ")
        return int(first[1]) if first[0] == b"HTTP/1.1" and len(first) > 1 else 0

    @property
    def headers(self) -> dict[str, str]:
        lines = self.data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def length(self) -> int:
        """What Content-Length says."""
        return int(self.headers["content-length"])


async def ask(api: HostileApi, target: str, method: str = "GET", document: Any = None, **options: Any) -> Seen:
    """Send one request and see all that comes; headers are named with `_` for `-`."""
    headers = {name.replace("_", "-"): value for name, value in options.pop("headers", {}).items()}
    body = options.pop("body", b"" if document is None else json.dumps(document).encode())
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request_of(f"{method} {target}", {"Host": address.netloc, **headers}, body))
        return await see(reader, **options)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def see(reader: asyncio.StreamReader, seconds: float = PATIENCE, most: int = 1 << 20) -> Seen:
    """All that comes until the end, a silence or `most` bytes."""
    data = bytearray()
    try:
        while len(data) < most:
            async with asyncio.timeout(seconds):
                piece = await reader.read(1 << 18)
            if not piece:
                return Seen(bytes(data), "closed")
            data += piece
    except TimeoutError:
        return Seen(bytes(data), "silence")
    except ConnectionResetError:
        return Seen(bytes(data), "reset")
    return Seen(bytes(data), "more")


def request_of(first: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request; the connection is to be closed after it unless the headers say otherwise."""
    sized = {"Content-Length": str(len(body)), "Connection": "close", **headers}
    lines = [f"{first} HTTP/1.1", *(f"{name}: {value}" for name, value in sized.items()), "", ""]
    return "\r\n".join(lines).encode() + body
