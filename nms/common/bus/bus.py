"""The bus as rooms see it, and which one this process uses."""

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

from nms.common.bus.postgres import PostgresBus
from nms.common.bus.subscription import Subscription
from nms.common.db.repositories import BaseRepository
from nms.common.settings import Settings

Topology = Mapping[str, Sequence[str]]
"""Which subscribers there are, and the types of events that each wants."""


class Bus(Protocol):
    """Moves events from outboxes to subscriptions: at least once, in order per key."""

    async def check(self) -> None:
        """Raise a Problem when events cannot be delivered now."""

    async def relay(self, outbox: BaseRepository, stop: asyncio.Event) -> None:
        """Send what stands in an outbox until told to stop; any number of processes may do so."""

    async def deliver(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Hand events to a subscription until told to stop; any number of processes may do so for one name."""

    async def close(self) -> None:
        """Give back connections."""


def open_bus(settings: Settings, outbox: BaseRepository, topology: Topology) -> Bus:
    """RabbitMQ when AMQP_DSN is set (its client is imported only then), else the log of `outbox`."""
    if settings.amqp_dsn is None:
        return PostgresBus(outbox)
    rabbit = import_module("nms.common.bus.rabbit")
    bus: Bus = rabbit.RabbitBus(settings.amqp_dsn.get_secret_value(), topology)
    return bus
