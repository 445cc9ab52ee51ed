"""An exchange in RabbitMQ: persistent messages, many under way at once, in order, confirmed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange

from nms.common.bus.exchange import Letter
from nms.common.bus.rabbit import CONNECT_SECONDS, ERRORS, PUBLISH_SECONDS, BusUnavailable
from nms.common.bus.topology import SECONDS, is_complete, mark_complete

LEAVE_SECONDS = 0.3
"""A broker that does not answer is not waited for when a connection is closed."""
SLICE = 25
"""Letters that are begun before whatever else this process does has its turn."""


class RabbitExchange:
    """A durable topic exchange over one channel."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self._connection = connection
        self._channel = channel
        self._exchange = exchange

    async def has_mark(self) -> bool:
        """Whether the mark that `leave_mark` left is there: a broker without it is new, or was wiped."""
        return await is_complete(self._connection, self._mark, {})

    async def leave_mark(self) -> None:
        """Leave a mark that goes when the broker is wiped."""
        await mark_complete(self._channel, self._mark)

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Send letters in this order; returns once RabbitMQ has confirmed every one."""
        sending: list[asyncio.Task[None]] = []
        try:
            # One deadline for all: with one each, a letter could go out behind one that was given up.
            async with asyncio.timeout(PUBLISH_SECONDS):
                for letter in letters:
                    sending.append(asyncio.create_task(self._send(letter)))
                    if len(sending) % SLICE == 0:
                        await asyncio.sleep(0)
                await asyncio.gather(*sending)
        except ERRORS as error:
            raise BusUnavailable(f"RabbitMQ did not take what was sent: {type(error).__name__}.") from error
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    def check(self) -> None:
        """Raise BusUnavailable when the connection is gone."""
        if self._channel.is_closed or self._connection.is_closed:
            raise BusUnavailable("RabbitMQ has closed the channel.")

    async def _send(self, letter: Letter) -> None:
        message = aio_pika.Message(
            letter.body,
            content_type=letter.content_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(letter.id),
            type=letter.type,
            timestamp=letter.sent_at,
            headers=dict(letter.headers),
            app_id="nms",
        )
        await self._exchange.publish(message, letter.routing_key, mandatory=False)

    @property
    def _mark(self) -> str:
        return f"{self._exchange.name}.relay"


@asynccontextmanager
async def opened(dsn: str, name: str) -> AsyncIterator[RabbitExchange]:
    """Connect and declare an exchange; raises BusUnavailable for whatever the driver raises inside."""
    try:
        connection = await aio_pika.connect(dsn, timeout=CONNECT_SECONDS, client_properties={"product": "nms"})
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=False)
            exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True, timeout=SECONDS)
            yield RabbitExchange(connection, channel, exchange)
        finally:
            await _leave(connection)
    except ERRORS as error:
        raise BusUnavailable(f"RabbitMQ does not answer: {type(error).__name__}.") from error


async def _leave(connection: AbstractConnection) -> None:
    with suppress(*ERRORS):
        async with asyncio.timeout(LEAVE_SECONDS):
            await connection.close()
