"""PostgreSQL as a source that is polled: round after round, what changed between two snapshots (DESIGN 4.2)."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from nms.common import faults
from nms.common.flow import Batch, Load, Part, Position
from nms.common.rounds import Rounds
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.poll.place import PLACE, Horizon, Polled, position_of
from nms.connectors.postgres.poll.round import Pace, Round, read_chunk
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.spool import SpoolSpace

# How long a copy reads in one snapshot: it holds the source's vacuum back, and each new one costs a round.
SEGMENT_SECONDS = 30.0
# An idle pipeline writes its position so often, or ids of transactions and the change log would outgrow it.
DURABLE_SECONDS = 300.0
CONFIRM_SECONDS = 5.0
_ROUNDS_PER_SEGMENT = 10

Item = tuple[Batch, Callable[[], None]]


@dataclass(slots=True)
class PollPlan:
    """What a poll begins with: the pipeline, where it stands, its tables (parents first), when rounds begin."""

    pipeline: str
    position: Position
    polled: list[Polled]
    rounds: Rounds


@dataclass(slots=True)
class Turn:
    """What became of the rounds so far: how many, how long the last one read, what it found, when it was applied."""

    number: int = 0
    seconds: float = 0.0
    changes: int = 0
    began: float = field(default_factory=time.monotonic)
    delay: float | None = None


class PollSource:
    """Reads tables by asking them. `aside` is a second session, by which the source is told what is durable."""

    def __init__(self, plan: PollPlan, connection: Connection, aside: Connection, space: SpoolSpace) -> None:
        self.polled = plan.polled
        self.turn = Turn()
        self.rounds = plan.rounds
        self._plan = plan
        self._connection = connection
        self._aside = aside
        self._space = space
        self._horizon = Horizon(plan.position["snapshot"])
        self._place = {name: plan.position[name] for name in PLACE if name in plan.position}
        self._ready: asyncio.Queue[Item | BaseException] = asyncio.Queue(1)
        self._reader: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._written = time.monotonic()
        self._told = 0.0
        # The place behind each round that is not known to be durable yet, and what the round serves.
        self._read_upto: list[tuple[int, int]] = []
        self._durable: int = plan.position["place"]

    @property
    def copying(self) -> bool:
        """Whether rows that were there before are still being read."""
        return not all(one.dataset.done for one in self.polled)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches in the order they were read; raises the Problem that ended the reading."""
        self._reader = asyncio.create_task(self._read())
        while True:
            item = await self._ready.get()
            if isinstance(item, BaseException):
                raise item
            batch, discard = item
            try:
                yield batch
            finally:
                discard()

    async def confirm(self, position: Position) -> None:
        """Let the change log go up to what is durable; what an idle round saw is not."""
        self.turn.delay = time.monotonic() - self.turn.began
        self._durable = position["place"]
        self._settle()
        if "idle" in position or not any(one.by == "log" for one in self.polled):
            return
        if time.monotonic() - self._told > CONFIRM_SECONDS:
            self._told = time.monotonic()
            horizon = str(Horizon(position["snapshot"]).xmin)
            await queries.mark_confirmed(self._aside, pipeline=self._plan.pipeline, horizon=horizon)

    async def close(self) -> None:
        """End the sessions and free the spool; safe to call twice."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if not self._ready.empty():
            item = self._ready.get_nowait()
            if isinstance(item, tuple):
                item[1]()
        for connection in (self._connection, self._aside):
            with suppress(Exception):
                await connection.close(timeout=5)

    # -- the reading, a batch ahead of the target

    async def _read(self) -> None:
        try:
            while True:
                await self.rounds.due()
                number = self.rounds.begin()
                await self._turn()
                while self.copying:
                    await self._turn()
                self._read_upto.append((self._place["place"], number))
                self._settle()
        except Exception as error:
            # A bug stays a bug: only what drivers raise is translated.
            known = isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError))
            await self._ready.put(translate(error, at="source") if known else error)

    def _settle(self) -> None:
        while self._read_upto and self._read_upto[0][0] <= self._durable:
            self.rounds.end(self._read_upto.pop(0)[1])

    async def _turn(self) -> None:
        began = time.monotonic()
        round_ = await Round.begin(self._connection, self._space, self._plan.pipeline, (self._horizon, self.polled))
        try:
            changes = await round_.read(self.polled)
            self._horizon = round_.now
            seconds = time.monotonic() - began
            self.turn = Turn(self.turn.number + 1, seconds, changes, began, self.turn.delay)
            item = self._changes(round_, changes), round_.discard
            if self.copying:
                round_.until = asyncio.get_running_loop().time() + max(SEGMENT_SECONDS, _ROUNDS_PER_SEGMENT * seconds)
                await self._give(round_, item)
                await self._copy(round_)
            else:
                await round_.end()
                await self._ready.put(item)
        finally:
            await round_.end()

    async def _copy(self, round_: Round) -> None:
        begun = False
        for one in self.polled:
            # One chunk at least, whatever time its round took.
            while not one.dataset.done and not round_.ended and not (begun and round_.over()):
                begun = True
                await self._give(round_, await self._chunk(round_, one))

    async def _give(self, round_: Round, item: Item) -> None:
        # A target that takes its time must not make the source keep its snapshot.
        try:
            async with asyncio.timeout_at(round_.until):
                await self._ready.put(item)
        except TimeoutError:
            await round_.end()
            await self._ready.put(item)

    async def _chunk(self, round_: Round, one: Polled) -> Item:
        dataset, after = one.dataset, one.dataset.after
        data, rows, upto = await read_chunk(round_, one, self._pace)
        faults.point("backfill.after_read")
        dataset.started, dataset.rows = True, dataset.rows + rows
        dataset.after, dataset.done = upto, upto is None
        batch = self._batch(round_, _nothing, 0)
        batch.small = ()
        marked = bool(dataset.table.mark)
        if marked:
            # For a target that gets rows as changes they are those of a copy, also where some are held.
            batch.ends = ((0, batch.origin),)
        batch.load = Load(dataset.shape, data, rows, one.sweep, after, upto, marked)
        return batch, batch.load.discard

    def _changes(self, round_: Round, changes: int) -> Batch:
        if changes or time.monotonic() - self._written > DURABLE_SECONDS:
            self._written = time.monotonic()
            return self._batch(round_, round_.parts, changes)
        return Batch({**self._position(round_), "idle": True}, _nothing, place=self._place["place"], small=())

    def _batch(self, round_: Round, parts: Callable[[], AsyncIterator[Part]], changes: int) -> Batch:
        self._place["place"] += 1
        number = self._place["place"]
        return Batch(self._position(round_), parts, changes, min(changes, 1), round_.at, place=number, origin=number)

    def _position(self, round_: Round) -> Position:
        return position_of(self._place, round_.now, self.polled)


async def _nothing() -> AsyncIterator[Part]:
    nothing: Part = ()
    yield nothing
