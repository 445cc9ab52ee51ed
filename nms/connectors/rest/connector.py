"""What a pipeline needs of a REST API: resources as its source, resources as its target, and what is missing."""

from collections.abc import Sequence

from nms.common.demand import demand_on
from nms.common.document import PipelineDocument, SystemDocument
from nms.common.document.rest import RestSystem
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec, Feed, FeedSpec, OutletSpec, Store, Target
from nms.common.problem import Malformed
from nms.common.remote import Remote, RemoteSpec
from nms.connectors.rest.check import check_resources
from nms.connectors.rest.remote import RestRemote
from nms.connectors.rest.source import RestSource
from nms.connectors.rest.target import RestTarget


def access_of(system: SystemDocument) -> RestSystem:
    """How to reach an API; secrets are read when they are needed."""
    if not isinstance(system, RestSystem):
        raise Malformed(f"system {system.name} is no REST API")
    return system


async def open_feed(access: RestSystem, spec: FeedSpec) -> Feed:
    """Begin to read resources in rounds; raises a Problem."""
    return await RestSource.open(access, spec)


async def open_target(access: RestSystem, spec: OutletSpec, store: Store) -> Target:
    """Be ready to write."""
    return await RestTarget.open(access, spec, store)


async def open_remote(access: RestSystem, spec: RemoteSpec) -> Remote:
    """Resources to read and write record by record; raises a Problem."""
    return await RestRemote.open(access, spec)


async def check(access: RestSystem, datasets: Sequence[DatasetSpec], *, reads: bool, writes: bool) -> list[Finding]:
    """What stands in the way of reading these resources, of writing to them, or of both; never raises a Problem."""
    return await check_resources(access, datasets, reads=reads, writes=writes)


async def probe(system: SystemDocument, pipeline: PipelineDocument | None) -> list[Finding]:
    """What an API says, for a pipeline that uses it or for none; raises SecretMissing and SystemUnreadable."""
    access = access_of(system)
    if pipeline is None:
        name = next(iter(access.resources))
        return await check(access, [DatasetSpec(name, name)], reads=True, writes=False)
    demand = demand_on(system.name, pipeline)
    return await check(access, demand.datasets, reads=demand.reads, writes=demand.writes)
