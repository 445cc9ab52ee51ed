"""An exchange of RabbitMQ that a room publishes to for whoever binds a queue: what is sent there, and the way to it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Protocol
from uuid import UUID

from nms.common.settings import Settings

SHORT_BYTES = 255
"""Bytes of a short string in AMQP 0-9-1 (section 4.2.5.3): names, types and routing keys are no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message: `routing_key`, `type` and `content_type` have at most SHORT_BYTES in UTF-8."""

    id: UUID
    routing_key: str
    type: str
    content_type: str | None
    body: bytes
    sent_at: datetime
    headers: Mapping[str, str | int]


class Exchange(Protocol):
    """A durable topic exchange, as long as its connection lasts."""

    async def has_mark(self) -> bool:
        """Whether the mark that `leave_mark` left is there: a broker without it is new, or was wiped."""

    async def leave_mark(self) -> None:
        """Leave a mark that goes when the broker is wiped."""

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Send letters in this order; returns once RabbitMQ has confirmed every one.

        Raises BusUnavailable: then any of them may have been sent. A letter that no queue takes counts as sent.
        """

    def check(self) -> None:
        """Raise BusUnavailable when the connection is gone."""


def open_exchange(settings: Settings, name: str) -> AbstractAsyncContextManager[Exchange]:
    """Connect to AMQP_DSN and declare an exchange there; raises BusUnavailable. The client is imported only then."""
    assert settings.amqp_dsn is not None
    rabbit = import_module("nms.common.bus.rabbit_exchange")
    opened: AbstractAsyncContextManager[Exchange] = rabbit.opened(settings.amqp_dsn.get_secret_value(), name)
    return opened


def shortened(text: str) -> str:
    """A text as far as AMQP's short strings go, whole characters only."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= SHORT_BYTES else raw[:SHORT_BYTES].decode(errors="ignore")
