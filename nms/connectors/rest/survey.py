"""What stands in the way of resources: whether they are declared, can be swept, and answer."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from nms.common.document.resource import Resource
from nms.common.document.rest import RestSystem
from nms.common.document.web import placeholders
from nms.common.finding import Finding
from nms.common.problem import Problem
from nms.connectors.rest.client import Client
from nms.connectors.rest.listing import Fetched
from nms.connectors.rest.nested import Lists
from nms.connectors.rest.problems import ResourceMissing, SweepUnconfirmed


async def survey(system: RestSystem, names: Sequence[str], *, writes: bool) -> list[Finding]:
    """Everything that the document shows, and for sources what their first pages do."""
    side = "target" if writes else "source"
    found: list[Finding] = []
    try:
        async with Client.opened(system) as client:
            for at, name in enumerate(names):
                for problem in await _look(client, system, name, writes=writes):
                    found.append(_finding(problem, system, f"/datasets/{at}/{side}"))
    except Problem as problem:
        found.append(_finding(problem, system, f"/{side}"))
    return found


async def _look(client: Client, system: RestSystem, name: str, *, writes: bool) -> list[Problem]:
    resource = system.resources.get(name)
    if resource is None:
        return [ResourceMissing(f"The system {system.name} has no resource {name}.", dataset=name)]
    if writes:
        return []
    problems: list[Problem] = [] if resource.sweep is None else _judge_sweep(name, resource)
    try:
        async with aclosing(_pages(client, resource)) as pages:
            await anext(pages)
    except Problem as problem:
        problems.append(problem)
    return problems


def _pages(client: Client, resource: Resource) -> AsyncGenerator[Fetched, None]:
    return Lists(client, resource).pages()


def _judge_sweep(name: str, resource: Resource) -> list[Problem]:
    if resource.record is None:
        return [SweepUnconfirmed(f"{name} is swept, but has no `record` to ask for a single one.", dataset=name)]
    others = [field for field in placeholders(resource.record) if field not in resource.key]
    if others:
        return [
            SweepUnconfirmed(f"{name} is swept, but `record` needs {others[0]}, no field of its key.", dataset=name)
        ]
    return []


def _finding(problem: Problem, system: RestSystem, pointer: str) -> Finding:
    return Finding(problem.code, problem.detail, system.name, pointer=pointer, remedy=problem.remedy, run_as="")
