"""Opens topics as source and target, and says what stands in the way; the driver is loaded when it is needed."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from nms.common.demand import demand_on
from nms.common.document.pipeline import PipelineDocument
from nms.common.document.system import KafkaSystem, SystemDocument
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec, Feed, FeedSpec, OutletSpec, Store, Target
from nms.common.problem import Malformed
from nms.connectors.kafka.config import Access
from nms.connectors.kafka.problems import KafkaMissing


def access_of(system: SystemDocument) -> Access:
    """How to reach a system; its secret is read now, so that a rotated one is taken up. Raises SecretMissing."""
    if not isinstance(system, KafkaSystem):
        raise Malformed(f"{system.name} is not a Kafka system")
    password = system.login()
    secret = None if password is None else password.get_secret_value()
    return Access(system.name, system.servers, system.user, secret, system.mechanism, system.tls)


async def open_feed(access: Access, spec: FeedSpec) -> Feed:
    """Topics to read; raises a Problem."""
    feed: Feed = await _load("source").TopicSource.open(access, spec)
    return feed


async def open_target(access: Access, spec: OutletSpec, store: Store) -> Target:
    """Topics to write to; raises a Problem."""
    target: Target = await _load("target").TopicTarget.open(access, spec, store)
    return target


async def check(access: Access, datasets: Sequence[DatasetSpec], *, reads: bool, writes: bool) -> list[Finding]:
    """What stands in the way of reading these topics, or of writing to them; never raises a Problem."""
    del reads
    names = [one.target if writes else one.source for one in datasets]
    try:
        found: list[Finding] = await _load("survey").survey(access, names, writes=writes)
    except KafkaMissing as problem:
        pointer = "/target" if writes else "/source"
        return [Finding(problem.code, problem.detail, access.system, pointer=pointer, remedy=problem.remedy, run_as="")]
    return found


async def probe(system: SystemDocument, pipeline: PipelineDocument | None) -> list[Finding]:
    """What a cluster says, for a pipeline that uses it or for none; raises SecretMissing and SystemUnreadable."""
    access = access_of(system)
    if pipeline is None:
        return await check(access, [], reads=True, writes=False)
    demand = demand_on(system.name, pipeline)
    return await check(access, demand.datasets, reads=demand.reads, writes=demand.writes)


def _load(name: str) -> Any:
    try:
        return import_module(f"nms.connectors.kafka.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("aiokafka"):
            raise
        raise KafkaMissing("the package aiokafka is not installed") from error
