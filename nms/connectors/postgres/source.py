"""PostgreSQL as a source: the log of a slot, beside a backfill of what was there before (DESIGN 4.2, 4.3)."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import psycopg

from nms.common.change import Change, Op
from nms.common.flow import Batch, Load, Part, Position
from nms.common.rows import read_rows, write_rows
from nms.connectors.postgres.catalog import Connection
from nms.connectors.postgres.drift import Pause
from nms.connectors.postgres.pgoutput import Decoder, Message
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.progress import position_of
from nms.connectors.postgres.reader import Reader
from nms.connectors.postgres.snapshot import Backfill, Chunk, Dataset
from nms.connectors.postgres.spool import RowBuffer, SpoolSpace
from nms.connectors.postgres.tables import Tables
from nms.connectors.postgres.transactions import Assembler, Feed, Large, Small
from nms.connectors.postgres.wal import WalStream, format_lsn, parse_lsn
from nms.connectors.postgres.watch import Watch
from nms.connectors.postgres.window import Window, advance

PART_CHANGES = 10_000
PART_BYTES = 4 << 20
FEED_BYTES = 8 << 20


@dataclass(slots=True)
class Plan:
    """What a source reads: the server's version, where it starts, limits of a batch, tables, datasets and their copies.

    `copy` begins to read tables beside the stream. `lasting` is what every position carries on,
    `own` the pipeline whose own transactions are passed over.
    """

    version: int
    generation: int
    start: str
    batch_changes: int
    tables: Tables
    copy: Callable[["PostgresSource"], Awaitable[Backfill]]
    datasets: list[Dataset] = field(default_factory=list)
    lasting: Position = field(default_factory=dict)
    own: bytes | None = None


class PostgresSource:
    """Reads one slot. `backfill` is None when nothing has to be copied."""

    def __init__(self, plan: Plan, connection: Connection, decoder: Decoder, space: SpoolSpace) -> None:
        self.plan = plan
        self.connection = connection
        self.space = space
        self._decoder = decoder
        self._session = secrets.token_hex(6)
        self._datasets = {dataset.name: dataset for dataset in plan.datasets}
        self._feed = Feed(FEED_BYTES, space)
        self._assembler = Assembler(decoder, self._feed, space, self._note_end)
        self._assembler.own = plan.own
        self._received = parse_lsn(plan.start)
        self._beats: list[tuple[int, float]] = []
        self._window: Window | None = None
        self._seen: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = Reader(self._assembler, decoder, plan.tables, self._session)
        self._version = 0
        self._stream: WalStream | None = None
        self._copier: Backfill | None = None
        self.backfill: Backfill | None = None
        self.beat_delay: float | None = None

    def start(self, stream: WalStream, backfill: Backfill | None, watch: Watch) -> None:
        """Begin to read."""
        self._stream = stream
        self._spawn(watch.run(self._session))
        self._spawn(stream.read(self._reader.take, self._feed.room))
        if backfill is not None:
            self._begin_copy(backfill)

    def is_idle(self) -> bool:
        """Whether all that was received is confirmed."""
        stream = self._stream
        return stream is not None and not self._assembler.open and stream.confirmed >= self._received

    def silent_for(self) -> float | None:
        """Seconds since the source last said anything."""
        return None if self._stream is None else round(time.monotonic() - self._stream.heard, 1)

    async def close(self) -> None:
        """End the session and free the spool."""
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:  # Also when it is cancelled once more: a connection that nobody closes keeps its locks.
            for one in (self._stream, self._copier):
                if one is not None:
                    await one.close()
            self._assembler.close()
            while self._feed.peek() is not None:
                if isinstance(item := self._feed.take(), Large):
                    item.spool.discard()
            if self._failed.done():
                self._failed.exception()
            with suppress(Exception):
                await self.connection.close(timeout=5)

    async def confirm(self, position: Position) -> None:
        """Move the slot on, once everything up to the position is durable."""
        lsn = parse_lsn(position["lsn"])
        stream = self._stream
        if stream is not None and lsn > stream.confirmed:
            stream.confirmed = lsn
            if time.monotonic() - stream.told > 0.2:
                stream.tell()
        while self._beats and self._beats[0][0] <= lsn:
            self.beat_delay = time.monotonic() - self._beats.pop(0)[1]

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches in commit order; raises the Problem that ended the reading."""
        while True:
            item = await self._first()
            await self._tend_copy()
            if isinstance(item, Large):
                self._feed.take()
                try:
                    yield self._told(self._large(item))
                finally:
                    item.spool.discard()
            elif item.messages:
                self._feed.take()
                batch = self._told(await self._marked(item))
                try:
                    yield batch
                finally:
                    if batch.load is not None:
                        batch.load.discard()
            else:
                yield self._told(self._merged())

    def _told(self, batch: Batch) -> Batch:
        # A pause or a new copy must reach the target with the first position behind it, or a restart would miss it.
        version = self.plan.tables.version
        batch.keep, self._version = self._version != version, version
        return batch

    async def _tend_copy(self) -> None:
        if self.backfill is not None and self.backfill.over:
            self._end_copy()
        if self.backfill is None and not all(dataset.settled for dataset in self.plan.datasets):
            self._begin_copy(await self.plan.copy(self))

    def _begin_copy(self, backfill: Backfill) -> None:
        # Noted from now on is what a chunk may miss; what came before has ended when the first one is read.
        self.backfill = self._copier = backfill
        backfill.lose = self._lose
        self._spawn(backfill.run(self._session))

    def _end_copy(self) -> None:
        if self.backfill is not None:
            self.backfill.over = True
        self.backfill = None
        self._seen.clear()

    def _lose(self, dataset: Dataset) -> None:
        self.pause(dataset.name, Pause("table-gone", f"{dataset.name} can no longer be read at the source"))

    def pause(self, name: str, pause: Pause) -> None:
        """Leave a table out from what arrives next on."""
        self.plan.tables.pause(name, pause)
        self._decoder.ask_again(self._datasets[name].oid)

    # -- small transactions

    def _merged(self) -> Batch:
        changes: list[Change] = []
        ends: list[tuple[int, int]] = []
        times: list[float] = []
        limit = self.plan.batch_changes
        end = 0
        item = self._feed.peek()
        while isinstance(item, Small) and not item.messages:
            # A target refuses to empty a table of which earlier changes of its transaction still wait to be checked.
            if changes and (item.empties or len(changes) + len(item.changes) > limit):
                break
            self._feed.take()
            kept = self._kept(item)
            changes += kept
            ends.append((len(kept), item.commit))
            times.append(item.committed)
            end = item.end
            item = self._feed.peek()
        return replace(_in_memory(self._position(end), changes, ends, times[-1]), times=times)

    @property
    def _caught_up(self) -> bool:
        return self.backfill is None

    def _kept(self, item: Small) -> list[Change]:
        if self._caught_up:
            return item.changes
        if item.written:
            self._seen.add(item.xid)
        return self._beside_backfill(item.xid, item.changes) if item.changes else []

    def _beside_backfill(self, xid: int, changes: Sequence[Change]) -> list[Change]:
        if self._window is not None:
            self._window.note(xid, changes)
        kept = [change for change in changes if self._wanted(change)]
        for change in kept:
            if change.old_key is not None:
                self._repair(change)
        return kept

    def _repair(self, change: Change) -> None:
        # The row may have moved from where nothing is copied yet to where nothing will be: it is read by its new key.
        dataset = self._datasets[change.shape.dataset]
        dataset.repairs.add(change.key)
        if self._window is not None and self._window.dataset == dataset.name:
            self._window.repairs.add(change.key)

    def _wanted(self, change: Change) -> bool:
        # What a later chunk brings need not be applied now; without a key it must not be, or it would come twice.
        # Tables that refer to each other are emptied together, whichever of them are there.
        dataset = self._datasets[change.shape.dataset]
        return dataset.done or (dataset.started and bool(change.shape.key)) or change.op is Op.TRUNCATE

    # -- large transactions

    def _large(self, large: Large) -> Batch:
        batch = Batch(self._position(large.end), lambda: self._parts(large, batch), transactions=1, place=large.place)
        batch.origin = large.commit
        if not self._caught_up:
            self._seen.add(large.xid)
            if self._window is not None:
                self._window.spoil()
        return batch

    async def _parts(self, large: Large, batch: Batch) -> AsyncIterator[Part]:
        decoder = (large.decoder or self._decoder).fork()
        part: list[Change] = []
        size = 0
        async for payloads in large.spool.read():
            for payload in payloads:
                if large.streamed and large.aborted and int.from_bytes(payload[1:5], "big") in large.aborted:
                    continue
                decoder.decode(payload, part, streamed=large.streamed)
                size += len(payload)
                if len(part) >= PART_CHANGES or size >= PART_BYTES:
                    yield part if self._caught_up else self._beside_backfill(large.xid, part)
                    part, size = [], 0
        yield part if self._caught_up else self._beside_backfill(large.xid, part)
        batch.position, batch.committed = self._position(large.end), large.committed

    # -- marks

    async def _marked(self, item: Small) -> Batch:
        changes = self._kept(item)
        for message in item.messages:
            batch = await self._mark(message, item)
            if batch is not None:
                return batch
        return _in_memory(self._position(item.end), changes, [(len(changes), item.commit)], item.committed)

    async def _mark(self, message: Message, item: Small) -> Batch | None:
        session, _, rest = message.content.decode(errors="replace").partition(":")
        if session != self._session:
            return None
        if message.prefix == "nms.heartbeat":
            self._beats.append((item.end, float(rest)))
        elif message.prefix == "nms.low":
            _, _, name = rest.partition(":")
            self._datasets[name].started = True
            self._window = Window(name)
        elif message.prefix == "nms.high":
            return await self._high(item)
        return None

    async def _high(self, item: Small) -> Batch | None:
        backfill, window = self.backfill, self._window
        if backfill is None or backfill.current is None or window is None:
            return None
        chunk, self._window = backfill.current, None
        if chunk.found is not None and chunk.version == chunk.dataset.version:
            await self.plan.tables.learn(chunk.found)
            self._decoder.ask_again(chunk.dataset.oid)
        missed = self._missed_before(chunk, window)
        stale = chunk.found is not None or chunk.version != chunk.dataset.version or chunk.dataset.paused
        if missed or window.void or stale or window.is_mixed(chunk.shape):
            chunk.data.discard()
            backfill.decide(again=True, missed=missed)
            if backfill.done:
                self._end_copy()
            return _in_memory(self._position(item.end), [], [(0, item.commit)], item.committed)
        batch = self._chunk_batch(chunk, window, item)
        backfill.decide(again=False)
        if backfill.done:
            self._end_copy()
        return batch

    def _missed_before(self, chunk: Chunk, window: Window) -> int:
        self._seen = {xid for xid in self._seen if not chunk.snapshot.sees(xid)}
        return len(self._seen - window.xids)

    def _chunk_batch(self, chunk: Chunk, window: Window, item: Small) -> Batch:
        dataset = chunk.dataset
        unseen = window.unseen(chunk.snapshot)
        data, rows = chunk.data, chunk.rows
        late: list[Change] = []
        if unseen and chunk.shape.key:
            fresh = advance(chunk.shape, read_rows(data), unseen)
            data.discard()
            data, rows = _buffer(self.space, write_rows(fresh)), len(fresh)
        elif unseen:
            late = unseen
        _progress(chunk, rows, window.repairs)
        batch = _in_memory(self._position(item.end), late, [(len(late), item.commit)], item.committed)
        sweep = dataset.sweep and not chunk.keys
        batch.load = Load(chunk.shape, data, rows, sweep, chunk.after, chunk.upto)
        return batch

    def _position(self, end: int) -> Position:
        plan = self.plan
        position = position_of(plan.generation, format_lsn(end), plan.datasets, plan.tables.paused)
        return {**position, **plan.lasting}

    def _note_end(self, end: int) -> None:
        self._received = max(self._received, end)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failed.done():
            return
        error = task.exception()
        if error is not None:
            failure = _problem(error)
            self._failed.set_exception(failure)
            self._assembler.fail(failure)

    async def _first(self) -> Small | Large:
        item = self._feed.peek()
        if item is not None:
            return item
        if self._failed.done():
            self._failed.result()
        first = asyncio.ensure_future(self._feed.first())
        awaited: set[asyncio.Future[Any]] = {first, self._failed}
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                self._failed.result()
            return first.result()
        finally:
            first.cancel()


def _problem(error: BaseException) -> BaseException:
    # A bug stays a bug: only what drivers raise is translated.
    known = isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error, OSError))
    return translate(error, at="source") if known else error


def _in_memory(position: Position, changes: list[Change], ends: Sequence[tuple[int, int]], committed: float) -> Batch:
    async def parts() -> AsyncIterator[Part]:
        for at in range(0, len(changes), PART_CHANGES):
            yield changes[at : at + PART_CHANGES]

    place = parse_lsn(position["lsn"])
    return Batch(position, parts, len(changes), len(ends), committed, place=place, small=changes, ends=ends)


def _buffer(space: SpoolSpace, blocks: Sequence[bytes]) -> RowBuffer:
    buffer = RowBuffer(space)
    for block in blocks:
        buffer.add(block)
    return buffer


def _progress(chunk: Chunk, rows: int, moved: set[bytes]) -> None:
    dataset = chunk.dataset
    if chunk.keys:
        # A key that a row moved to meanwhile may not have been there to be read.
        dataset.repairs.difference_update(set(chunk.keys) - moved)
        return
    dataset.rows += rows
    dataset.after = chunk.upto
    dataset.done = chunk.upto is None
