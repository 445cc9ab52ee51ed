"""The bus over RabbitMQ: topic exchange `nms.events`, a quorum queue per subscriber, publisher confirms."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, PublishError

from nms.common.bus.bus import Topology
from nms.common.bus.message import from_message, to_message
from nms.common.bus.subscription import Subscription
from nms.common.bus.topology import declare_exchanges, declare_subscriber, is_complete, is_wanted, mark_complete
from nms.common.clock import backoff
from nms.common.db.repositories import BaseRepository
from nms.common.event import Envelope
from nms.common.faults import point
from nms.common.listen import listen
from nms.common.outbox import CHANNEL, queries, read, stamp, tidy
from nms.common.problem import Problem, Unavailable
from nms.common.waiting import first_of

log = logging.getLogger(__name__)

RELAY = "relay"
BATCH, PREFETCH = 200, 10
CONNECT_SECONDS, PUBLISH_SECONDS, POLL_SECONDS, TIDY_SECONDS = 5.0, 10.0, 1.0, 600.0
ERRORS = (AMQPError, ChannelInvalidStateError, OSError, asyncio.InvalidStateError)


class BusUnavailable(Unavailable):
    """RabbitMQ does not answer, or does not take what is sent."""

    code, title = "bus-unavailable", "RabbitMQ does not answer"
    remedy = "It is tried again by itself and nothing is lost meanwhile; look whether the broker of AMQP_DSN runs."


class RabbitBus:
    """Relays outboxes to RabbitMQ and delivers from it. The broker may be away or wiped: only lag grows.

    A broker without the relay's mark was wiped (or is new): then all that the outbox still keeps is sent again,
    and what was handled before is known by the seen tables.
    """

    def __init__(self, dsn: str, topology: Topology) -> None:
        self._dsn = dsn
        self._topology = topology

    async def check(self) -> None:
        """Raise BusUnavailable when the broker does not answer."""
        try:
            async with self._connected():
                pass
        except ERRORS as error:
            raise BusUnavailable("RabbitMQ does not answer.") from error

    async def close(self) -> None:
        """Nothing stays open: each relay and delivery has its own connection."""

    async def relay(self, outbox: BaseRepository, stop: asyncio.Event) -> None:
        """Send what stands in an outbox, in order per key, until told to stop."""
        wake = asyncio.Event()
        ear = asyncio.create_task(listen(outbox.connection, CHANNEL, lambda _payload: wake.set()))
        tidying = asyncio.create_task(_keep_tidy(outbox))
        try:
            await self._persist("the relay", stop, lambda: self._relay_once(outbox, stop, wake))
        finally:
            for task in (ear, tidying):
                task.cancel()
            await asyncio.gather(ear, tidying, return_exceptions=True)

    async def deliver(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Hand events to a subscription, one after the other, until told to stop."""
        await self._persist(subscription.name, stop, lambda: self._deliver_once(subscription, stop))

    async def _persist(self, name: str, stop: asyncio.Event, attempt: Callable[[], Any]) -> None:
        failures = 0
        while not stop.is_set():
            started = asyncio.get_running_loop().time()
            try:
                await attempt()
            except (*ERRORS, Problem) as error:
                failures = 1 if asyncio.get_running_loop().time() - started > 30 else failures + 1
                what = error.code if isinstance(error, Problem) else type(error).__name__
                log.warning("%s is cut off from RabbitMQ: %s", name, what)
                await first_of(stop, timeout=backoff(failures, base=0.2, cap=10.0))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AbstractConnection]:
        connection = await aio_pika.connect(self._dsn, timeout=CONNECT_SECONDS, client_properties={"product": "nms"})
        try:
            yield connection
        finally:
            await connection.close()

    # Outbox to broker

    async def _relay_once(self, outbox: BaseRepository, stop: asyncio.Event, wake: asyncio.Event) -> None:
        async with self._connected() as connection:
            await self._prepare(connection, outbox)
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await declare_exchanges(channel)
            while not stop.is_set():
                wake.clear()
                if not await self._forward(outbox, exchange):
                    await first_of(stop, wake, timeout=POLL_SECONDS)
                    if channel.is_closed:
                        raise BusUnavailable("RabbitMQ has closed the channel.")

    async def _prepare(self, connection: AbstractConnection, outbox: BaseRepository) -> None:
        mark = f"nms.relay.{outbox._dsn_type.value}"
        await queries.insert_subscriber(outbox.connection, name=RELAY, from_start=True)
        if await is_complete(connection, mark, self._topology):
            return
        # First the cursor, then the mark: dying in between only repeats this.
        await queries.update_rewound(outbox.connection, name=RELAY)
        point("relay.after_rewind")
        async with connection.channel() as channel:
            for name, types in self._topology.items():
                await declare_subscriber(channel, name, types)
            await mark_complete(channel, mark)

    async def _forward(self, outbox: BaseRepository, exchange: AbstractExchange) -> int:
        """Send a batch; gives its size. The lanes of keys go side by side, within a lane one by one."""
        await stamp(outbox)
        async with outbox.transaction() as tx:
            position = await queries.claim_subscriber(tx.connection, name=RELAY)
            if position is None:
                return 0
            batch = await read(tx, position, ["*"], BATCH)
            if not batch:
                return 0
            lanes: dict[str, list[Envelope]] = defaultdict(list)
            for _, envelope in batch:
                lanes[envelope.key].append(envelope)
            sent = await asyncio.gather(
                *(self._send(exchange, lane) for lane in lanes.values()), return_exceptions=True
            )
            for outcome in sent:
                if outcome is not None:
                    raise outcome
            point("relay.after_publish")
            await queries.update_subscriber(tx.connection, name=RELAY, position=batch[-1][0])
        return len(batch)

    async def _send(self, exchange: AbstractExchange, lane: Iterable[Envelope]) -> None:
        for envelope in lane:
            try:
                await exchange.publish(
                    to_message(envelope),
                    envelope.type,
                    mandatory=is_wanted(envelope.type, self._topology),
                    timeout=PUBLISH_SECONDS,
                )
            except PublishError as error:
                raise BusUnavailable(f"No queue takes {envelope.type}.", type=envelope.type) from error

    # Broker to subscription

    async def _deliver_once(self, subscription: Subscription, stop: asyncio.Event) -> None:
        async with self._connected() as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            queue = await declare_subscriber(channel, subscription.name, subscription.types)
            arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            ready, closed = asyncio.Event(), asyncio.Event()

            async def receive(message: AbstractIncomingMessage) -> None:
                arrived.put_nowait(message)
                ready.set()

            connection.close_callbacks.add(lambda *_: closed.set())
            channel.close_callbacks.add(lambda *_: closed.set())
            tag = await queue.consume(receive, timeout=CONNECT_SECONDS)
            while not stop.is_set() and not closed.is_set():
                ready.clear()
                if arrived.empty():
                    await first_of(stop, closed, ready, timeout=POLL_SECONDS)
                else:
                    await _handle(subscription, arrived.get_nowait(), stop, closed)
            if closed.is_set():
                raise BusUnavailable("RabbitMQ has closed the channel.")
            await _hand_back(channel, tag, arrived)


async def _hand_back(channel: AbstractChannel, tag: str, arrived: "asyncio.Queue[AbstractIncomingMessage]") -> None:
    underlay = await channel.get_underlay_channel()
    await underlay.basic_cancel(tag, timeout=CONNECT_SECONDS)
    while not arrived.empty():
        await arrived.get_nowait().nack(requeue=True)


async def _handle(
    subscription: Subscription, message: AbstractIncomingMessage, stop: asyncio.Event, closed: asyncio.Event
) -> None:
    """Handle one message until it is acknowledged or a dead letter; left alone when told to stop."""
    envelope = from_message(message)
    if envelope is None:
        log.error("%s: a message that is no event is a dead letter", subscription.name)
        await message.reject(requeue=False)
        return
    while True:
        try:
            await subscription.attempt(envelope)
        except Exception as error:
            _, delay = subscription.judge(envelope, error)
        else:
            point("bus.after_handle")
            await message.ack()
            return
        if delay is None:
            await message.reject(requeue=False)
            return
        if await first_of(stop, closed, timeout=delay):
            if not closed.is_set():
                await message.nack(requeue=True)
            return


async def _keep_tidy(outbox: BaseRepository) -> None:
    while True:
        try:
            await tidy(outbox)
        except Problem as problem:
            log.warning("the outbox could not be tidied: %s", problem.code)
        await asyncio.sleep(TIDY_SECONDS)
