"""Exports as answers: records go out as they are read, no faster than the caller takes them."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nms.common.problem import Problem
from nms.common.waiting import first_of
from nms.warehouse.extract import Extract, write
from nms.warehouse.format import Compression, Format
from nms.warehouse.problems import ExportsBusy

log = logging.getLogger(__name__)

APART: Final = "export"
MOST: Final = 3
"""Streams of a process: each keeps one of the three connections of its pool."""
TYPES: Final = {
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.PARQUET: "application/vnd.apache.parquet",
}
_PACKED: Final = {Compression.GZIP: "application/gzip", Compression.ZSTD: "application/zstd"}


def media_type(format_: Format, compression: Compression) -> str:
    """The media type of a file: that of what packs it, as it is no encoding of the transport."""
    plain = TYPES[format_]
    return plain if format_ is Format.PARQUET else _PACKED.get(compression, plain)


@dataclass(slots=True)
class Streams:
    """The exports that a process streams; `seconds` is the longest that one may take."""

    seconds: float
    count: int = 0

    def check(self) -> None:
        """Raise ExportsBusy while there are as many as there may be."""
        if self.count >= MOST:
            raise ExportsBusy(f"This process streams {MOST} exports already.", most=MOST)


class ExportStream(Response):
    """One export; what hinders it before its first record is a problem, behind that the answer is cut.

    A cut answer has no closing record, and its connection is closed before the transfer has ended.
    """

    def __init__(self, extract: Extract, sequence: int, streams: Streams, stop: asyncio.Event) -> None:
        super().__init__(media_type=media_type(extract.format, extract.compression))
        del self.headers["content-length"]
        self.headers["Content-Disposition"] = f'attachment; filename="{extract.file_name}"'
        self.headers["Cache-Control"] = "no-store"
        self._extract, self._sequence = extract, sequence
        self._streams, self._stop = streams, stop
        self._began = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; returns early where the caller has gone, the process stops or it takes too long."""
        self._streams.check()
        self._streams.count += 1
        gone = asyncio.Event()
        writing = asyncio.create_task(self._write(send))
        watching = asyncio.create_task(_watch(receive, gone))
        ending = asyncio.create_task(first_of(gone, self._stop, timeout=self._streams.seconds))
        try:
            await asyncio.wait({writing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                log.warning("an export of %s was cut: %s", self._extract.listing.entity.name, self._reason(gone))
        finally:
            for task in (writing, watching, ending):
                task.cancel()
            await asyncio.wait({writing, watching, ending})
            self._streams.count -= 1
        if not writing.cancelled():
            self._heed(writing.exception())

    def _heed(self, error: BaseException | None) -> None:
        """What hindered it is an answer of its own where none has begun, else the reason why this one is cut."""
        if error is None:
            return
        if not (self._began and isinstance(error, Problem)):
            raise error
        log.warning("an export of %s was cut: %s", self._extract.listing.entity.name, error.detail)

    async def _write(self, send: Send) -> None:
        head = b""

        async def take(data: bytes, rows: int) -> None:
            nonlocal head
            if not (self._began or rows):
                # Until the first record is read, what goes wrong has an answer of its own.
                head += data
                return
            await self._begin(send)
            if head or data:
                await send({"type": "http.response.body", "body": head + data, "more_body": True})
            head = b""

        await write(self._extract, self._sequence, take, apart=APART)
        await self._begin(send)
        await send({"type": "http.response.body", "body": head, "more_body": False})

    async def _begin(self, send: Send) -> None:
        if not self._began:
            self._began = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    def _reason(self, gone: asyncio.Event) -> str:
        if gone.is_set():
            return "its caller went away"
        return "the process stops" if self._stop.is_set() else f"it took longer than {self._streams.seconds:g} s"


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
