"""Payloads of the stream become transactions in commit order; large and streamed ones go through the spool."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from nms.common.change import Change
from nms.connectors.postgres import pgoutput
from nms.connectors.postgres.pgoutput import Decoder, Message
from nms.connectors.postgres.spool import Spool, SpoolSpace

LARGE_BYTES = 4 << 20
_DATA = frozenset((pgoutput.INSERT, pgoutput.UPDATE, pgoutput.DELETE, pgoutput.TRUNCATE))
_PREFIX = "nms."
ORIGIN_PREFIX = "nms.origin"
"""A transaction that a pipeline wrote says so first, with the pipeline's name: only its own reader drops it."""
_ASIDE = frozenset((pgoutput.TYPE, pgoutput.ORIGIN))


@dataclass(slots=True)
class Small:
    """A transaction held in memory, decoded; it commits at `commit`, and that ends at `end`.

    `empties` says that it truncates a table, `written` that it changed a published one, left out or not.
    """

    xid: int
    end: int
    committed: float
    changes: list[Change]
    size: int
    messages: list[Message]
    commit: int = 0
    empties: bool = False
    written: bool = True


@dataclass(slots=True)
class Large:
    """A transaction in the spool.

    `end` is where it commits, and where that ends once the spool is complete; `place` stays what it is and lies behind
    the transaction before.
    """

    xid: int
    spool: Spool
    streamed: bool
    end: int = 0
    place: int = 0
    committed: float = 0.0
    decoder: Decoder | None = None
    schema: list[bytes] = field(default_factory=list)
    aborted: set[int] = field(default_factory=set)
    commit: int = 0


Item = Small | Large


class Feed:
    """A bounded line of transactions between the reader and whoever takes them."""

    def __init__(self, limit: int, space: SpoolSpace) -> None:
        self._limit = limit
        self._space = space
        self._items: deque[Item] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self.outstanding = 0

    def put(self, item: Item) -> None:
        """Add a transaction; never waits (the reader awaits `room` between payloads)."""
        self._items.append(item)
        self._size += item.size if isinstance(item, Small) else 0
        self.outstanding += 1
        self._arrived.set()

    async def room(self) -> None:
        """Wait until the line is shorter than its limit."""
        while self._size > self._limit or self._is_crowded():
            self._taken.clear()
            await self._taken.wait()

    def _is_crowded(self) -> bool:
        # Only while something can be applied meanwhile: a transaction that still arrives needs the reader.
        first = self._items[0] if self._items else None
        return isinstance(first, Large) and first.spool.is_complete and self._space.used > self._space.budget // 2

    async def first(self) -> Item:
        """The first transaction, waiting for one; it stays until `take`."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items[0]

    def peek(self) -> Item | None:
        """The first transaction, or None."""
        return self._items[0] if self._items else None

    def take(self) -> Item:
        """Remove the first transaction."""
        item = self._items.popleft()
        self._size -= item.size if isinstance(item, Small) else 0
        self._taken.set()
        return item


class Assembler:
    """Takes payloads as they arrive and puts whole transactions into the feed, in commit order.

    Of small transactions that say `nms.origin` with the content `own` first, nothing is given but their end.
    Raises StreamUnreadable for what no server sends: bytes as well as their order.
    """

    def __init__(self, decoder: Decoder, feed: Feed, space: SpoolSpace, tell_end: Callable[[int], None]) -> None:
        self._decoder = decoder
        self._feed = feed
        self._space = space
        self._tell_end = tell_end
        self._payloads: list[bytes] = []
        self._messages: list[Message] = []
        self._size = 0
        self._xid = 0
        self._commit_lsn = 0
        self._large: Large | None = None
        self._empties = False
        self._streams: dict[int, Large] = {}
        self._stream: Large | None = None
        self._ours = False
        self.own: bytes | None = None
        self.open = False

    def feed(self, payload: bytes) -> None:
        """Take one payload."""
        try:
            kind = payload[0]
            if self._stream is not None:
                self._streamed(self._stream, kind, payload)
            elif self.open:
                self._within(kind, payload)
            else:
                self._between(kind, payload)
        except pgoutput.MALFORMED as cause:
            raise pgoutput.refuse(payload, cause) from cause

    @property
    def streaming(self) -> bool:
        """Whether a piece of a transaction that is still under way is arriving."""
        return self._stream is not None

    def schema_of(self, xid: int) -> list[bytes]:
        """What a streamed transaction told of tables, without what it rolled back."""
        large = self._streams[xid]
        return [payload for payload in large.schema if pgoutput.parse_xid(payload) not in large.aborted]

    def fail(self, failure: BaseException) -> None:
        """Tell whoever applies a transaction that its rest will not come."""
        if self._large is not None:
            self._large.spool.fail(failure)

    def close(self) -> None:
        """Free the spools of transactions that never ended."""
        for large in self._streams.values():
            large.spool.discard()
        if self._large is not None:
            self._large.spool.discard()

    def _within(self, kind: int, payload: bytes) -> None:
        if kind in _DATA:
            self._data(payload)
            if kind == pgoutput.TRUNCATE:
                self._empties = True
        elif kind == pgoutput.COMMIT:
            self._commit(payload)
        elif kind == pgoutput.RELATION:
            self._relation(payload)
        elif kind == pgoutput.MESSAGE:
            self._message(payload)
        elif kind not in _ASIDE:
            raise ValueError("it has no place within a transaction")

    def _between(self, kind: int, payload: bytes) -> None:
        if kind == pgoutput.BEGIN:
            self._begin(payload)
        elif kind == pgoutput.STREAM_START:
            self._stream_start(payload)
        elif kind == pgoutput.STREAM_COMMIT:
            self._stream_commit(payload)
        elif kind == pgoutput.STREAM_ABORT:
            self._stream_abort(payload)
        elif kind != pgoutput.MESSAGE:
            # A message that belongs to no transaction may come at any time, and is none of ours.
            raise ValueError("it has no place between transactions")

    def _streamed(self, stream: Large, kind: int, payload: bytes) -> None:
        if kind == pgoutput.STREAM_STOP:
            self._stream = None
        elif kind in _DATA or kind == pgoutput.RELATION:
            self._keep(stream, payload)
        elif kind not in _ASIDE and kind != pgoutput.MESSAGE:
            raise ValueError("it has no place within a part of a streamed transaction")

    def _begin(self, payload: bytes) -> None:
        self._commit_lsn, _, self._xid = pgoutput.parse_begin(payload)
        self._payloads, self._messages, self._size, self._large = [], [], 0, None
        self._empties = self._ours = False
        self.open = True

    def _message(self, payload: bytes) -> None:
        message = pgoutput.parse_message(payload)
        # Those of others may be of any size and number.
        if message.prefix == ORIGIN_PREFIX:
            self._ours = self._ours or message.content == self.own
        elif message.prefix.startswith(_PREFIX):
            self._messages.append(message)

    def _relation(self, payload: bytes) -> None:
        # A large transaction is decoded later: it keeps the message in its place, those behind it need it now.
        if self._large is not None:
            self._large.spool.append(payload)
            self._decoder.learn(payload)
        else:
            self._small(payload)

    def _data(self, payload: bytes) -> None:
        if self._large is not None:
            self._large.spool.append(payload)
        else:
            self._small(payload)

    def _small(self, payload: bytes) -> None:
        self._payloads.append(payload)
        self._size += len(payload)
        if self._size > LARGE_BYTES:
            self._grow()

    def _grow(self) -> None:
        # Committed already, so it can be applied while the rest still arrives.
        # Where its commit begins may be where the transaction before it ends.
        at = self._commit_lsn
        self._large = Large(self._xid, Spool(self._space), False, at, at + 1, decoder=self._decoder.fork(), commit=at)
        for payload in self._payloads:
            self._large.spool.append(payload)
            if payload[0] == pgoutput.RELATION:
                self._decoder.learn(payload)
        self._payloads = []
        self._feed.put(self._large)

    def _keep(self, large: Large, payload: bytes) -> None:
        if payload[0] == pgoutput.RELATION:
            large.schema.append(payload)
        large.spool.append(payload)

    def _commit(self, payload: bytes) -> None:
        lsn, end, committed = pgoutput.parse_commit(payload)
        if lsn != self._commit_lsn:
            raise ValueError("it ends another transaction than the one that began")
        if self._large is not None:
            self._large.end, self._large.committed = end, committed
            self._large.spool.complete()
            self._large = None
        else:
            changes: list[Change] = []
            decode = self._decoder.decode
            for data in self._payloads:
                decode(data, changes)
            if self._ours:
                # Decoded all the same: what it tells of tables holds for what follows.
                changes = []
            size, lsn = self._size + 64, self._commit_lsn
            self._feed.put(
                Small(
                    self._xid,
                    end,
                    committed,
                    changes,
                    size,
                    self._messages,
                    lsn,
                    self._empties and not self._ours,
                    self._size > 0,
                )
            )
        self._payloads, self._messages, self._size, self.open = [], [], 0, False
        self._tell_end(end)

    def _stream_start(self, payload: bytes) -> None:
        xid, first = pgoutput.parse_stream_start(payload)
        if first == (xid in self._streams):
            raise ValueError("a streamed transaction begins twice, or goes on that never began")
        if first:
            self._streams[xid] = Large(xid, Spool(self._space), streamed=True)
        self._stream = self._streams[xid]

    def _stream_commit(self, payload: bytes) -> None:
        xid, lsn, end, committed = pgoutput.parse_stream_commit(payload)
        # What a savepoint changed and rolled back never was; the server tells the table again after that.
        schema, large = self.schema_of(xid), self._streams.pop(xid)
        large.commit, large.end, large.place = lsn, end, end
        large.committed, large.decoder = committed, self._decoder.fork()
        for told in schema:
            self._decoder.learn(told, streamed=True)
        large.spool.complete()
        self._feed.put(large)
        self._tell_end(end)

    def _stream_abort(self, payload: bytes) -> None:
        xid, sub = pgoutput.parse_stream_abort(payload)
        if xid == sub:
            aborted = self._streams.pop(xid, None)
            if aborted is not None:
                aborted.spool.discard()
        elif xid in self._streams:
            self._streams[xid].aborted.add(sub)
