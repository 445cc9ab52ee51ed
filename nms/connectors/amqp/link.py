"""Connections to a broker, and whether what a pipeline names is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from nms.connectors.amqp.config import Access
from nms.connectors.amqp.lenient import be_lenient
from nms.connectors.amqp.problems import ERRORS, ExchangeMissing, QueueMissing, translate

CONNECT_SECONDS = 10.0
ASK_SECONDS = 10.0


async def connect(access: Access, *, name: str) -> AbstractConnection:
    """A connection under a name that the broker shows; raises a Problem."""
    be_lenient()
    try:
        return await aio_pika.connect(
            access.url(), timeout=CONNECT_SECONDS, client_properties={"product": "nms", "connection_name": name}
        )
    except ERRORS as error:
        raise translate(error, at=access.system) from error


async def leave(connection: AbstractConnection) -> None:
    """End a connection whatever state it is in; safe to call twice."""
    with suppress(*ERRORS, TimeoutError):
        await connection.close()


@asynccontextmanager
async def asking(access: Access) -> AsyncIterator[None]:
    """Raise what the driver raises inside as Problems."""
    try:
        yield
    except ERRORS as error:
        raise translate(error, at=access.system) from error


async def find_queue(channel: AbstractChannel, name: str, *, at: str) -> tuple[int, int]:
    """Messages ready in a queue and consumers of it; raises QueueMissing, and the channel is closed then."""
    underlay = await channel.get_underlay_channel()
    try:
        answer = await underlay.queue_declare(queue=name, passive=True, timeout=ASK_SECONDS)
    except ChannelNotFoundEntity as error:
        raise QueueMissing(f"queue {name} does not exist in {at}", queue=name) from error
    return answer.message_count or 0, answer.consumer_count or 0


async def find_exchange(channel: AbstractChannel, name: str, *, at: str) -> None:
    """Raise ExchangeMissing when there is no such exchange, and the channel is closed then."""
    underlay = await channel.get_underlay_channel()
    try:
        await underlay.exchange_declare(exchange=name, passive=True, timeout=ASK_SECONDS)
    except ChannelNotFoundEntity as error:
        raise ExchangeMissing(f"exchange {name} does not exist in {at}", exchange=name) from error
