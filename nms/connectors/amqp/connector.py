"""What a pipeline needs of a RabbitMQ broker: queues as its source, exchanges as its target, and what is missing."""

from collections.abc import Sequence

from nms.common.demand import demand_on
from nms.common.document import AmqpSystem, PipelineDocument, SystemDocument
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec, Feed, FeedSpec, OutletSpec, Store, Target
from nms.common.problem import Malformed, Problem
from nms.connectors.amqp.config import Access
from nms.connectors.amqp.link import asking, connect, find_exchange, find_queue, leave
from nms.connectors.amqp.source import QueueSource
from nms.connectors.amqp.target import ExchangeTarget, split_address


def access_of(system: SystemDocument) -> Access:
    """How to reach a broker; secrets are read now."""
    if not isinstance(system, AmqpSystem):
        raise Malformed(f"system {system.name} is no AMQP broker")
    broker = system.broker()
    return Access(system.name, str(broker), None if broker.password is None else broker.password.get_secret_value())


async def open_feed(access: Access, spec: FeedSpec) -> Feed:
    """Begin to consume one queue a dataset."""
    return await QueueSource.open(access, spec)


async def open_target(access: Access, spec: OutletSpec, store: Store) -> Target:
    """Be ready to publish."""
    return await ExchangeTarget.open(access, spec, store)


async def check(access: Access, datasets: Sequence[DatasetSpec], *, reads: bool, writes: bool) -> list[Finding]:
    """What stands in the way of reading queues or writing to exchanges; never raises a Problem."""
    del reads
    side = "target" if writes else "source"
    names = [getattr(one, side) for one in datasets]
    try:
        connection = await connect(access, name=f"nms-doctor:{access.system}")
    except Problem as problem:
        return [_finding(problem, access.system, f"/{side}")]
    found: list[Finding] = []
    try:
        for at, name in enumerate(names):
            try:
                async with asking(access):
                    # What is missing closes the channel that asked.
                    channel = await connection.channel()
                    exchange = split_address(name)[0] if writes else ""
                    if exchange:
                        await find_exchange(channel, exchange, at=access.system)
                    elif not writes:
                        await find_queue(channel, name, at=access.system)
            except Problem as problem:
                found.append(_finding(problem, access.system, f"/datasets/{at}/{side}"))
    finally:
        await leave(connection)
    return found


async def probe(system: SystemDocument, pipeline: PipelineDocument | None) -> list[Finding]:
    """What a broker says, for a pipeline that uses it or for none; raises SecretMissing and SystemUnreadable."""
    access = access_of(system)
    if pipeline is None:
        return await check(access, [], reads=True, writes=False)
    demand = demand_on(system.name, pipeline)
    return await check(access, demand.datasets, reads=demand.reads, writes=demand.writes)


def _finding(problem: Problem, system: str, pointer: str) -> Finding:
    return Finding(problem.code, problem.detail, system, pointer=pointer, remedy=problem.remedy, run_as="")
