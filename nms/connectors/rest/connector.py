"""What a pipeline needs of a REST API: resources as its source, resources as its target, and what is missing."""

from collections.abc import Sequence

from nms.common.document import SystemDocument
from nms.common.document.rest import RestSystem
from nms.common.finding import Finding
from nms.common.flow import Feed, FeedSpec, OutletSpec, Store, Target
from nms.common.problem import Malformed
from nms.connectors.rest.target import RestTarget


def access_of(system: SystemDocument) -> RestSystem:
    """How to reach an API; secrets are read when they are needed."""
    if not isinstance(system, RestSystem):
        raise Malformed(f"system {system.name} is no REST API")
    return system


async def open_feed(_access: RestSystem, _spec: FeedSpec) -> Feed:
    """Begin to read resources in rounds."""
    raise Malformed("reading a REST API is not yet there")


async def open_target(access: RestSystem, spec: OutletSpec, store: Store) -> Target:
    """Be ready to write."""
    return await RestTarget.open(access, spec, store)


async def check(_access: RestSystem, _names: Sequence[str], *, writes: bool) -> list[Finding]:
    """What stands in the way; nothing is looked at yet."""
    del writes
    return []
