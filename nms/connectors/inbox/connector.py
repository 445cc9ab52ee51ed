"""What a pipeline needs of the inbox: its endpoints as a source, and what is missing."""

from collections.abc import Sequence

from nms.common.configuration import current_documents
from nms.common.document import InboxSystem, SystemDocument
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec, Feed, FeedSpec, OutletSpec, Store, Target
from nms.common.problem import Malformed, Problem
from nms.connectors.inbox.problems import EndpointMissing, InboxOnlyRead
from nms.connectors.inbox.repository import FeedRepository
from nms.connectors.inbox.source import InboxSource


def access_of(system: SystemDocument) -> InboxSystem:
    """The document tells all: the inbox stands in the database of this installation."""
    if not isinstance(system, InboxSystem):
        raise Malformed(f"system {system.name} is not the inbox")
    return system


async def open_feed(access: InboxSystem, spec: FeedSpec) -> Feed:
    """Begin to read endpoints; raises a Problem."""
    return await InboxSource.open(access, spec)


async def open_target(access: InboxSystem, spec: OutletSpec, store: Store) -> Target:
    """Refused: events come over HTTP only."""
    del spec, store
    raise InboxOnlyRead(f"{access.name} is the inbox")


async def check(access: InboxSystem, datasets: Sequence[DatasetSpec], *, reads: bool, writes: bool) -> list[Finding]:
    """What stands in the way of reading these datasets; never raises a Problem."""
    if writes and not reads:
        return [_finding(InboxOnlyRead(f"{access.name} is the inbox"), access, "/target")]
    try:
        configuration = await current_documents(await FeedRepository.open())
    except Problem as problem:
        return [_finding(problem, access, "/source")]
    found: list[Finding] = []
    for at, dataset in enumerate(datasets):
        name, pointer = access.resource(dataset.source).endpoint, f"/datasets/{at}/source"
        unreadable = configuration.unreadable.get(("endpoint", name))
        if unreadable is not None:
            found.append(_finding(unreadable, access, pointer))
        elif name not in configuration.endpoints:
            found.append(_finding(EndpointMissing(f"there is no endpoint {name}", endpoint=name), access, pointer))
    return found


def _finding(problem: Problem, system: InboxSystem, pointer: str) -> Finding:
    return Finding(problem.code, problem.detail, system.name, pointer=pointer, remedy=problem.remedy, run_as="")
