"""The replication stream: reads a slot over the streaming replication protocol (PostgreSQL manual, 55.4)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from struct import Struct

import psycopg
from psycopg import pq

from nms.connectors.postgres.libpq import Access, Libpq
from nms.connectors.postgres.problems import PublicationGone, ServerAway, SlotLost, from_state, translate

_FEEDBACK_SECONDS = 5.0
SILENCE_SECONDS = 90.0
_XLOG, _KEEPALIVE = b"wk"
_keepalive = Struct("!QqB").unpack_from
_status = Struct("!cQQQqB").pack
_EPOCH = 946_684_800

Handle = Callable[[bytes], Awaitable[None] | None]


def format_lsn(lsn: int) -> str:
    """An LSN as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """An LSN from PostgreSQL's text form."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


class WalStream:
    """One walsender session on one slot.

    `confirmed` is what the source is told to be flushed; `idle` says whether everything received is confirmed, so
    that keepalives may move it on and idle tables retain no log.
    """

    def __init__(self, libpq: Libpq, confirmed: int, idle: Callable[[], bool]) -> None:
        self._libpq = libpq
        self._idle = idle
        self.confirmed = confirmed
        self.received = confirmed
        self._full = False
        self.heard = self.told = time.monotonic()

    @classmethod
    async def open(
        cls, access: Access, *, name: str, start: str, confirmed: int, idle: Callable[[], bool]
    ) -> "WalStream":
        """Run a START_REPLICATION command (`start`) on a new walsender session."""
        libpq = await Libpq.connect(access, name=name, replication=True)
        try:
            libpq.pgconn.send_query(start.encode())
            result = (await libpq.results())[-1]
            if result.status != pq.ExecStatus.COPY_BOTH:
                raise _start_problem(libpq, result)
        except BaseException:
            await libpq.close()
            raise
        return cls(libpq, confirmed, idle)

    async def close(self) -> None:
        """End the walsender session; safe to call twice."""
        await self._libpq.close()

    async def read(self, handle: Handle, room: Callable[[], Awaitable[None]]) -> None:
        """Hand every payload over in order; `room` is awaited before more is taken. Ends only by a Problem."""
        reading = asyncio.create_task(self._read(handle, room))
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_FEEDBACK_SECONDS)
                self._keep_contact(reading)
            reading.result()
        except (psycopg.Error, OSError) as error:
            raise translate(error, at=self._libpq.access.system) from error
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    async def _read(self, handle: Handle, room: Callable[[], Awaitable[None]]) -> None:
        pgconn = self._libpq.pgconn
        take = pgconn.get_copy_data
        while True:
            size, data = take(1)
            if size > 0:
                kind = data[0]
                if kind == _XLOG:
                    waiting = handle(bytes(data[25:]))
                    if waiting is not None:
                        await waiting
                elif kind == _KEEPALIVE:
                    self._heard(data)
            elif size == 0:
                self._full = True
                await room()
                self._full, self.heard = False, time.monotonic()
                await self._readable(pgconn.socket)
                self.heard = time.monotonic()
                pgconn.consume_input()
            else:
                raise self._ended(pgconn)

    def tell(self, *, reply: bool = False) -> None:
        """Send a standby status update: written, flushed and applied are all what is confirmed."""
        now = int((time.time() - _EPOCH) * 1e6)
        message = _status(b"r", max(self.received, self.confirmed), self.confirmed, self.confirmed, now, int(reply))
        self.told = time.monotonic()
        with suppress(psycopg.Error):
            # A stream that has ended is the reader's to report.
            self._libpq.pgconn.put_copy_data(message)
            self._libpq.pgconn.flush()

    def _heard(self, data: memoryview) -> None:
        end, _, reply = _keepalive(data, 1)
        self.received = max(self.received, end)
        if self._idle() and end > self.confirmed:
            self.confirmed = end
        if reply:
            self.tell()

    def _keep_contact(self, reading: asyncio.Task[None]) -> None:
        # Every status asks for an answer: a server that is asked and says nothing is gone, whatever TCP believes.
        if reading.done():
            return
        if not self._full and time.monotonic() - self.heard > SILENCE_SECONDS:
            raise ServerAway(f"{self._libpq.access.system}: the source has said nothing for {SILENCE_SECONDS:.0f} s")
        self.tell(reply=True)

    async def _readable(self, socket: int) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(socket, _resolve, ready)
        try:
            await ready
        finally:
            loop.remove_reader(socket)

    def _ended(self, pgconn: pq.abc.PGconn) -> Exception:
        result = pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            return _start_problem(self._libpq, result)
        return ServerAway(f"{self._libpq.access.system}: the replication stream ended")


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _start_problem(libpq: Libpq, result: pq.abc.PGresult) -> Exception:
    state = bytes(result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() or None
    message = bytes(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace")
    return _named(state, message, libpq.access)


def _named(state: str | None, message: str, access: Access) -> Exception:
    # 58P01: removed log; 55000: invalidated slot; 42704: no such slot or publication (PostgreSQL appendix A).
    lost = state == "58P01" or (state == "55000" and "slot" in message) or (state == "42704" and "slot" in message)
    if state == "42704" and "publication" in message:
        return PublicationGone(f"{access.system}: {message}")
    if lost:
        return SlotLost(f"{access.system}: {message}")
    return from_state(state, message, at=access.system)
