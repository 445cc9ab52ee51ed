"""Events as AMQP messages."""

import json
from datetime import UTC, datetime

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage

from nms.common.event import Envelope

CONTENT_TYPE = "application/vnd.nms.event+json"


def to_message(envelope: Envelope) -> Message:
    """A persistent message that carries the whole envelope as JSON."""
    return Message(
        json.dumps(envelope.to_dict(), ensure_ascii=False, separators=(",", ":")).encode(),
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(envelope.id),
        type=envelope.type,
        timestamp=datetime.now(UTC),
        app_id="nms",
    )


def from_message(message: AbstractIncomingMessage) -> Envelope | None:
    """The envelope that `to_message` packed; None for anything else."""
    try:
        return Envelope.from_dict(json.loads(message.body))
    except (ValueError, KeyError, TypeError):
        return None
