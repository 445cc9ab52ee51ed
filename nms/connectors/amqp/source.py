"""Queues as a source: what they push is read as changes, and acknowledged once the target has it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage

from nms.common import faults
from nms.common.change import Change
from nms.common.flow import Batch, FeedSpec, Part, Poison, Position
from nms.common.messages import MessageUnreadable, check_size, read_message
from nms.connectors.amqp.config import Access, Limits
from nms.connectors.amqp.link import ASK_SECONDS, asking, connect, find_queue, leave
from nms.connectors.amqp.problems import BrokerAway, QueueMissing, translate

HEAD_BYTES = 64 << 10
LOOK_SECONDS = 5.0
IDLE_TURNS = 5


@dataclass(slots=True)
class Arrived:
    """A message that waits for its batch; of one that is too large only the beginning is kept."""

    queue: str
    tag: int
    name: str
    size: int
    body: bytes
    sent: float | None = None

    def poison_key(self) -> str:
        """What names it when it is held: its id, and its content, since senders give one id to two messages."""
        if self.size != len(self.body):
            return self.name
        digest = sha256(self.body).hexdigest()
        return f"{self.name}/{digest[:12]}" if self.name else digest


@dataclass(slots=True)
class Unacked:
    """The last message of each queue in a batch, for when the target has it."""

    place: int
    tags: dict[str, int]
    messages: int


class QueueSource:
    """Reads one queue a dataset, each over its own channel, so that one acknowledgement speaks for all before it.

    Positions count batches; where the queues stand is kept by the broker alone, by what is not acknowledged.
    """

    def __init__(self, access: Access, spec: FeedSpec, limits: Limits) -> None:
        self._access = access
        self._spec = spec
        self._limits = limits
        self._place = int(spec.start.get("place", 0))
        self._line: deque[Arrived] = deque()
        self._arrived = asyncio.Event()
        self._unacked: deque[Unacked] = deque()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: AbstractConnection | None = None
        self._channels: dict[str, AbstractChannel] = {}
        self._looking: asyncio.Task[None] | None = None
        self._states: dict[str, dict[str, int]] = {}
        self._closing = False

    @classmethod
    async def open(cls, access: Access, spec: FeedSpec, limits: Limits | None = None) -> "QueueSource":
        """Connect and begin to consume the queues, which must exist; raises a Problem."""
        made = cls(access, spec, limits or Limits())
        try:
            await made._start()
        except BaseException:
            await made.close()
            raise
        return made

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What has arrived, as batches; raises the Problem that ended the connection."""
        while True:
            while not self._line or self._failed.done():
                await self._wait()
            await self._gather()
            yield self._batch()

    async def confirm(self, position: Position) -> None:
        """Acknowledge everything up to this position."""
        place = position["place"]
        tags: dict[str, int] = {}
        while self._unacked and self._unacked[0].place <= place:
            tags.update(self._unacked.popleft().tags)
        faults.point("feed.before_ack")
        async with asking(self._access):
            for queue, tag in tags.items():
                underlay = await self._channels[queue].get_underlay_channel()
                await underlay.basic_ack(tag, multiple=True, wait=False)

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a message that was held; raises a MessageUnreadable."""
        return read_message(body, self._spec.shapes[dataset], limit=self._limits.message_bytes)

    def facts(self) -> dict[str, Any]:
        """By queue the messages ready and its consumers, as last seen; messages here that are not acknowledged."""
        unacked = len(self._line) + sum(one.messages for one in self._unacked)
        return {"queues": {name: dict(state) for name, state in self._states.items()}, "unacked": unacked}

    async def close(self) -> None:
        """End the connection: what is not acknowledged is pushed again to whoever reads next; safe to call twice."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._connection is not None:
            await leave(self._connection)
        if self._failed.done():
            self._failed.exception()
        self._line.clear()

    # -- consuming

    async def _start(self) -> None:
        self._connection = await connect(self._access, name=f"nms {self._spec.pipeline}")
        self._connection.close_callbacks.add(lambda _, error: self._end(error))
        async with asking(self._access):
            for name in self._spec.shapes:
                channel = await self._connection.channel(publisher_confirms=False)
                channel.close_callbacks.add(lambda _, error: self._end(error))
                self._channels[name] = channel
                ready, consumers = await find_queue(channel, name, at=self._access.system)
                self._states[name] = {"ready": ready, "consumers": consumers + 1}
                await self._consume(channel, name)
        self._looking = asyncio.create_task(self._look())

    async def _consume(self, channel: AbstractChannel, name: str) -> None:
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self._end(self._gone(name)))

        async def receive(message: DeliveredMessage) -> None:
            self._line.append(_arrived(name, message, self._limits.message_bytes))
            self._arrived.set()

        await channel.set_qos(prefetch_count=self._limits.prefetch, timeout=ASK_SECONDS)
        await underlay.basic_consume(name, receive, timeout=ASK_SECONDS)

    async def _wait(self) -> None:
        """Wait for a message; raises what ended the reading."""
        self._arrived.clear()
        arrived = asyncio.ensure_future(self._arrived.wait())
        try:
            waits: set[asyncio.Future[Any]] = {arrived, self._failed}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
        finally:
            arrived.cancel()

    async def _gather(self) -> None:
        """Take in what the socket has already: the driver hands over a few messages at each turn of the loop."""
        idle = 0
        while idle < IDLE_TURNS and len(self._line) < self._limits.batch_messages:
            seen = len(self._line)
            await asyncio.sleep(0)
            idle = 0 if len(self._line) > seen else idle + 1

    def _gone(self, name: str) -> QueueMissing:
        return QueueMissing(f"queue {name} of {self._access.system} was deleted", queue=name)

    def _end(self, error: BaseException | None) -> None:
        if self._closing or self._failed.done():
            return
        away = BrokerAway(f"{self._access.system}: the broker ended the connection")
        self._failed.set_exception(away if error is None else translate(error, at=self._access.system))

    async def _look(self) -> None:
        """Ask for the lengths of the queues; one that is gone ends the reading."""
        try:
            async with asking(self._access):
                assert self._connection is not None
                async with self._connection.channel(publisher_confirms=False) as channel:
                    while True:
                        for name, state in self._states.items():
                            state["ready"], state["consumers"] = await find_queue(channel, name, at=self._access.system)
                        if self._closing:
                            # A cancellation that meets an answer on its way is lost in the driver's time limits.
                            return
                        await asyncio.sleep(LOOK_SECONDS)
        except Exception as error:
            self._end(error)

    # -- batches

    def _batch(self) -> Batch:
        taken = list(_take(self._line, self._limits))
        changes: list[Change] = []
        poison: list[Poison] = []
        for one in taken:
            try:
                check_size(one.size, self._limits.message_bytes)
                changes += self.read(one.queue, one.body)
            except MessageUnreadable as problem:
                poison.append(Poison(one.queue, one.poison_key(), one.body, problem))
        self._place += 1
        self._unacked.append(Unacked(self._place, {one.queue: one.tag for one in taken}, len(taken)))
        times = [one.sent for one in taken if one.sent is not None]
        position = {"generation": self._spec.generation, "place": self._place}
        return Batch(
            position,
            lambda: _parts(changes),
            changes=len(changes),
            transactions=len(taken),
            committed=max(times, default=None),
            place=self._place,
            small=changes,
            poison=poison,
        )


def _take(line: deque[Arrived], limits: Limits) -> Iterable[Arrived]:
    size = 0
    for _ in range(min(len(line), limits.batch_messages)):
        if size and size + len(line[0].body) > limits.batch_bytes:
            return
        size += len(line[0].body)
        yield line.popleft()


def _arrived(queue: str, message: DeliveredMessage, limit: int) -> Arrived:
    body, properties, sent = message.body, message.header.properties, message.header.properties.timestamp
    made = Arrived(queue, message.delivery_tag or 0, properties.message_id or "", len(body), body)
    if made.size > limit:
        made.name, made.body = made.poison_key(), body[:HEAD_BYTES]
    made.sent = None if sent is None else sent.timestamp()
    return made


async def _parts(changes: Sequence[Change]) -> AsyncIterator[Part]:
    yield changes
