"""Clients of a cluster: their options, their ends, and the one translation of what the driver raises."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Collection, Iterable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn

from nms.common.problem import Problem
from nms.connectors.kafka.config import Access
from nms.connectors.kafka.problems import KafkaAccessRefused, KafkaAway, KafkaRefused, TopicMissing

# It says again with every attempt what we raise once, as a problem.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

ASK_SECONDS = 15.0
CLOSE_SECONDS = 5.0
ERRORS = (kafka_errors.KafkaError, OSError, TimeoutError)
_REFUSED = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
)
# What the driver says when nobody answers, without the mark of errors that pass.
_AWAY = (kafka_errors.KafkaError, kafka_errors.KafkaTimeoutError, kafka_errors.KafkaUnavailableError)

T = TypeVar("T")


def options(access: Access, *, name: str) -> dict[str, Any]:
    """What every client of the driver takes to reach the cluster; `name` is what brokers show in their logs."""
    protocol = ("SASL_" if access.user else "") + ("SSL" if access.tls else "PLAINTEXT")
    made: dict[str, Any] = {
        "bootstrap_servers": list(access.servers),
        "client_id": name,
        "security_protocol": protocol,
        "request_timeout_ms": int(ASK_SECONDS * 1000),
        "metadata_max_age_ms": 30_000,
    }
    if access.tls:
        made["ssl_context"] = ssl.create_default_context()
    if access.user:
        made |= {
            "sasl_mechanism": access.mechanism,
            "sasl_plain_username": access.user,
            "sasl_plain_password": access.password or "",
        }
    return made


async def within(awaitable: Awaitable[T], access: Access, *, seconds: float = ASK_SECONDS) -> T:
    """What the driver answers in time; raises a Problem.

    The driver swallows cancellations here and there, so a call that takes too long is left behind, not waited for.
    """
    task = asyncio.ensure_future(awaitable)
    task.add_done_callback(_forget)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        raise KafkaAway(f"{access.system}: no answer within {seconds:.0f} s")
    try:
        return task.result()
    except ERRORS as error:
        raise translate(error, at=access.system) from error


def _forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()


async def begin(client: AIOKafkaClient | AIOKafkaConsumer | AIOKafkaProducer, access: Access) -> None:
    """Connect a client; raises a Problem, and the client is closed then."""
    opening = client.bootstrap() if isinstance(client, AIOKafkaClient) else client.start()
    try:
        await within(opening, access)
    except BaseException as error:
        await end(client)
        if isinstance(error, KafkaAway):
            raise await _find_reason(access, error) from error
        raise


async def end(client: AIOKafkaClient | AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Let go of a client whatever state it is in; what it has not sent is dropped. Safe to call twice."""
    if isinstance(client, AIOKafkaProducer):
        # Its own end waits until all is sent, for ever where no broker answers.
        client._closed = True
        await _leave(client._sender.close(), client.client.close())
    elif isinstance(client, AIOKafkaConsumer):
        await _leave(client.stop())
        # Cut off from its brokers a consumer gives up half way.
        await _leave(client._client.close())
    else:
        await _leave(client.close())


async def _leave(*closing: Awaitable[None]) -> None:
    tasks = {asyncio.ensure_future(one) for one in closing}
    await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
    for task in tasks:
        task.cancel()
        task.add_done_callback(_forget)


async def find_partitions(client: AIOKafkaClient, access: Access, topics: Collection[str]) -> dict[str, list[int]]:
    """The partitions of topics, in order; none for a topic that is not there.

    All topics are asked for, since brokers may make a topic that is asked for by name.
    """
    cluster = await within(client.fetch_all_metadata(), access)
    return {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}


async def list_partitions(client: AIOKafkaClient, access: Access, topics: Collection[str]) -> dict[str, list[int]]:
    """The partitions of topics, in order; raises TopicMissing for one that is not there."""
    found = await find_partitions(client, access, topics)
    for topic, partitions in found.items():
        if not partitions:
            raise missing(topic, access)
    return found


def missing(topic: str, access: Access) -> TopicMissing:
    """The problem of a topic that is not there."""
    text = f"{access.system} has no topic {topic}, or the login may not see it"
    return TopicMissing(text, topic=topic)


def translate(error: BaseException, *, at: str) -> Problem:
    """A Problem for what the driver raised while talking to the system named `at`."""
    if isinstance(error, Problem):
        return error
    text = f"{at}: {str(error).splitlines()[0] if str(error).strip() else type(error).__name__}"
    if isinstance(error, _REFUSED):
        return KafkaAccessRefused(text)
    if isinstance(error, kafka_errors.KafkaError) and type(error) not in _AWAY and not error.retriable:
        return KafkaRefused(text)
    return KafkaAway(text)


async def _find_reason(access: Access, away: KafkaAway) -> Problem:
    """Why no server let us in: the driver tells outages and refusals apart only of a single connection."""
    problems = [problem for problem in [await _knock(access, server) for server in access.servers] if problem]
    return next((one for one in problems if isinstance(one, KafkaAccessRefused)), (*problems, away)[0])


async def _knock(access: Access, server: str) -> Problem | None:
    host, _, port = server.rpartition(":")
    given = options(access, name="nms")
    for name in ("bootstrap_servers", "metadata_max_age_ms"):
        del given[name]
    try:
        connection = await within(create_conn(host.strip("[]"), int(port), **given), access, seconds=CLOSE_SECONDS)
    except Problem as problem:
        return type(problem)(f"{problem.detail} ({server})", server=server)
    connection.close()
    return None


def known_partitions(client: AIOKafkaClient, topics: Iterable[str]) -> dict[str, list[int]]:
    """The partitions of topics as brokers told last; none for a topic that is gone."""
    return {topic: sorted(client.cluster.partitions_for_topic(topic) or ()) for topic in topics}
