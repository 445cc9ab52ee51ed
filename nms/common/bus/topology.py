"""What stands in the broker: exchanges, a quorum queue and a queue of dead letters per subscriber."""

from collections.abc import Mapping, Sequence

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractQueue
from aiormq.exceptions import ChannelNotFoundEntity

EVENTS, DEAD = "nms.events", "nms.dead"
DELIVERY_LIMIT = 20
SECONDS = 10.0


def queue_of(subscriber: str) -> str:
    """The queue of a subscriber; its dead letters stand in the same name with `.dead`."""
    return f"nms.{subscriber}"


async def declare_exchanges(channel: AbstractChannel) -> AbstractExchange:
    """Declare the exchange of events and that of dead letters; gives the first."""
    await channel.declare_exchange(DEAD, ExchangeType.DIRECT, durable=True, timeout=SECONDS)
    return await channel.declare_exchange(EVENTS, ExchangeType.TOPIC, durable=True, timeout=SECONDS)


async def declare_subscriber(channel: AbstractChannel, subscriber: str, types: Sequence[str]) -> AbstractQueue:
    """Declare and bind a subscriber's queue: one consumer at a time, and no dead letter gets lost on its way."""
    events = await declare_exchanges(channel)
    name = queue_of(subscriber)
    dead = await channel.declare_queue(
        f"{name}.dead", durable=True, arguments={"x-queue-type": "quorum"}, timeout=SECONDS
    )
    await dead.bind(DEAD, routing_key=name, timeout=SECONDS)
    queue = await channel.declare_queue(
        name,
        durable=True,
        timeout=SECONDS,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-single-active-consumer": True,
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-routing-key": name,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )
    for wanted in types:
        await queue.bind(events, routing_key=_binding_of(wanted), timeout=SECONDS)
    return queue


async def mark_complete(channel: AbstractChannel, mark: str) -> None:
    """Leave a mark that goes when the broker is wiped."""
    await channel.declare_exchange(mark, ExchangeType.FANOUT, durable=True, timeout=SECONDS)


async def is_complete(connection: AbstractConnection, mark: str, topology: Mapping[str, Sequence[str]]) -> bool:
    """Whether the mark and every subscriber's queue stand in the broker."""
    try:
        async with connection.channel() as channel:
            await channel.declare_exchange(mark, passive=True, timeout=SECONDS)
            for subscriber in topology:
                await channel.declare_queue(queue_of(subscriber), passive=True, timeout=SECONDS)
    except ChannelNotFoundEntity:
        return False
    return True


def is_wanted(type_: str, topology: Mapping[str, Sequence[str]]) -> bool:
    """Whether some subscriber wants this type."""
    return any(matches(type_, wanted) for types in topology.values() for wanted in types)


def matches(type_: str, wanted: str) -> bool:
    """Whether a type is the wanted one: `room.*` stands for all below, `*` for all."""
    return wanted in ("*", type_) or (wanted.endswith(".*") and type_.startswith(wanted[:-1]))


def _binding_of(wanted: str) -> str:
    return wanted[:-1] + "#" if wanted.endswith("*") else wanted
