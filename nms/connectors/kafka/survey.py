"""What stands in the way of topics: whether the cluster answers, lets us in, and has them."""

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from nms.common.problem import Problem
from nms.connectors.kafka.client import begin, end, find_partitions, missing, options
from nms.connectors.kafka.config import Access


async def find_problems(access: Access, names: Sequence[str], *, writes: bool) -> list[Problem]:
    """Every problem that a look at the cluster shows; rights on topics show at the first message only."""
    found: list[Problem] = []
    client = AIOKafkaClient(**options(access, name="nms-doctor"))
    try:
        await begin(client, access)
        partitions = await find_partitions(client, access, names)
        found += [missing(name, access) for name in names if not partitions[name]]
        if writes and not found:
            await _try_producer(access)
    except Problem as problem:
        found.append(problem)
    finally:
        await end(client)
    return found


async def _try_producer(access: Access) -> None:
    """Raise a Problem when the login may not write idempotently (clusters before 2.8 ask for a right of its own)."""
    producer = AIOKafkaProducer(**options(access, name="nms-doctor"), enable_idempotence=True, acks="all")
    await begin(producer, access)
    await end(producer)
