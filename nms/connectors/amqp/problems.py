"""Problems of an AMQP broker as a source or target, and the one translation of what its driver raises."""

import asyncio

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    DeliveryError,
    ProbableAuthenticationError,
    PublishError,
)

from nms.common.problem import Problem, Retry, Unavailable

ERRORS = (AMQPError, ChannelInvalidStateError, OSError, asyncio.InvalidStateError)


class BrokerAway(Unavailable):
    """A managed broker does not answer, or ended our connection or channel."""

    code, title = "broker-away", "The broker does not answer"
    remedy = "Look whether the broker runs and the address is right; it is tried again by itself."


class BrokerAccessRefused(Problem):
    """The login, the password or a right is missing."""

    status, code, title = 403, "broker-access-refused", "The broker refuses access"
    remedy = "Correct the login, or grant it the right that the message names: `rabbitmqctl set_permissions`."


class QueueMissing(Problem):
    """The queue is not there, or was deleted while it was read."""

    status, code, retry, title = 409, "queue-missing", Retry.LATER, "The queue does not exist"
    remedy = "Declare the queue (the hub makes none, so that its kind stays yours); it is tried again by itself."


class ExchangeMissing(Problem):
    """The exchange is not there."""

    status, code, retry, title = 409, "exchange-missing", Retry.LATER, "The exchange does not exist"
    remedy = "Declare the exchange (the hub makes none, so that its kind stays yours); it is tried again by itself."


class Unroutable(Problem):
    """No queue takes what is sent; nothing is passed over, the pipeline waits."""

    status, code, retry, title = 409, "unroutable", Retry.LATER, "No queue takes an event"
    remedy = "Bind a queue to the exchange for this routing key; the event is sent again by itself."


class EventNotTaken(Problem):
    """The broker says no to an event, as a full queue with `x-overflow: reject-publish` does."""

    status, code, retry, title = 409, "event-not-taken", Retry.LATER, "The broker does not take an event"
    remedy = "Look which bound queue is full; the event is sent again by itself."


class EventTooLarge(Problem):
    """A change is larger than brokers take in one message."""

    status, code, title = 413, "event-too-large", "A change is too large for a message"
    remedy = "Leave the large field out (name the others in `fields`), then replay the change."


def translate(error: BaseException, *, at: str) -> Problem:
    """A Problem for what the driver raised while talking to the system named `at`."""
    if isinstance(error, Problem):
        return error
    lines = str(error).strip().splitlines()
    text = f"{at}: {lines[0] if lines else type(error).__name__}"
    if isinstance(error, PublishError):
        return Unroutable(f"{at}: no queue takes what is sent there")
    if isinstance(error, DeliveryError):
        return EventNotTaken(f"{at}: the broker did not take the event")
    if isinstance(error, (AuthenticationError, ProbableAuthenticationError, ChannelAccessRefused)):
        return BrokerAccessRefused(text)
    # A virtual host that is not there answers so too, but that may be a broker that was set up anew.
    if isinstance(error, AMQPError) and error.args[:1] == (530,) and "refused" in str(error.args):
        return BrokerAccessRefused(text)
    return BrokerAway(text)
