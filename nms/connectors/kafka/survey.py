"""What stands in the way of topics: whether the cluster answers, lets us in, and has them."""

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from nms.common.finding import Finding
from nms.common.problem import Problem
from nms.connectors.kafka.client import begin, end, find_partitions, missing, options
from nms.connectors.kafka.config import Access


async def survey(access: Access, names: Sequence[str], *, writes: bool) -> list[Finding]:
    """Everything that a look at the cluster shows; rights on single topics show with their first message only."""
    side = "target" if writes else "source"
    client = AIOKafkaClient(**options(access, name="nms-doctor"))
    try:
        await begin(client, access)
        partitions = await find_partitions(client, access, names)
        if writes:
            await _try_producer(access)
    except Problem as problem:
        return [_finding(problem, access, f"/{side}")]
    finally:
        await end(client)
    return [
        _finding(missing(name, access), access, f"/datasets/{at}/{side}")
        for at, name in enumerate(names)
        if not partitions[name]
    ]


def _finding(problem: Problem, access: Access, pointer: str) -> Finding:
    return Finding(problem.code, problem.detail, access.system, pointer=pointer, remedy=problem.remedy, run_as="")


async def _try_producer(access: Access) -> None:
    """Raise a Problem when the login may not write idempotently (clusters before 2.8 ask for a right of its own)."""
    producer = AIOKafkaProducer(**options(access, name="nms-doctor"), enable_idempotence=True, acks="all")
    await begin(producer, access)
    await end(producer)
