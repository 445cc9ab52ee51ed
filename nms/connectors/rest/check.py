"""Looks at the resources of a pipeline as they are, and says what stands in the way; nothing is written."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from nms.common.document.rest import Resource, RestSystem, Verb, placeholders
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec
from nms.common.messages import find
from nms.common.problem import Problem
from nms.common.search import search
from nms.connectors.rest.ask import Ask, fill
from nms.connectors.rest.client import Client
from nms.connectors.rest.findings import (
    Record,
    Sight,
    Spot,
    complete,
    future_of,
    judge_allowed,
    judge_lookup,
    judge_pages,
    judge_place,
    judge_record,
    judge_records,
    judge_since,
)
from nms.connectors.rest.listing import Fetched
from nms.connectors.rest.nested import Lists
from nms.connectors.rest.problems import PathUnfillable, RemoteLoginRefused, ResourceMissing
from nms.connectors.rest.reading import exact_records, parse_answer, text_of

UNLISTED: Final = (404, 405, 501)
PATIENCE: Final = 30.0
"""A remote that is not through with what is asked for one dataset in so many seconds is told to be slow."""
PARENTS: Final = 5
"""Below so many parents records are looked for."""


async def check_resources(
    system: RestSystem, datasets: Sequence[DatasetSpec], *, reads: bool, writes: bool
) -> list[Finding]:
    """What stands in the way of reading these resources, of writing to them, or of both; never raises a Problem."""
    side = "source" if reads else "target"
    found = list(judge_place(system, f"/{side}"))
    try:
        async with Client.opened(system) as client:
            for at, dataset in enumerate(datasets):
                spot = Spot(system, getattr(dataset, side), f"/datasets/{at}/{side}")
                found += await _look(_Look(client, spot, dataset, reads, writes))
    except Problem as problem:
        found.append(
            Finding(problem.code, problem.detail, system.name, pointer=f"/{side}", remedy=problem.remedy, run_as="")
        )
    return found


async def _look(look: "_Look") -> list[Finding]:
    """The findings of one dataset; raises the Problem of a remote that cannot be reached or lets nobody in."""
    spot, found = look.spot, list[Finding]()
    if spot.name not in spot.system.resources:
        close = get_close_matches(spot.name, spot.system.resources, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else "."
        return [spot.told(ResourceMissing(f"{spot.system.name} has no resource `{spot.name}`{hint}"))]
    try:
        async with asyncio.timeout(PATIENCE), aclosing(look.findings()) as findings:
            async for finding in findings:
                found.append(finding)
    except TimeoutError:
        found.append(
            spot.finding(
                "remote-slow",
                f"{spot.system.name} is not through with what is asked for {spot.name} in {PATIENCE:.0f} s.",
                "Ask the remote's operator; `nms doctor` looks again.",
            )
        )
    except Problem as problem:
        if problem.facts.get("sent") is False or isinstance(problem, RemoteLoginRefused):
            raise
        found.append(spot.told(problem))
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    """Looks at one resource, with the fewest requests that show how it is."""

    client: Client
    spot: Spot
    dataset: DatasetSpec
    reads: bool
    writes: bool

    @property
    def resource(self) -> Resource:
        """The resource that is looked at."""
        return self.spot.resource

    async def findings(self) -> AsyncGenerator[Finding, None]:
        """Everything that is not as declared; raises the Problem of a list that does not come."""
        if self.writes and self.resource.writes is None:
            yield self.spot.finding(
                "writes-missing",
                f"`{self.spot.name}` of {self.spot.system.name} has no `writes`.",
                "Say in `writes` of the resource how records are created, updated and deleted.",
            )
            return
        try:
            first, second = await self._pages()
        except Problem as problem:
            # A resource that is only written may have no list.
            if self.reads or problem.facts.get("answered") not in UNLISTED:
                raise
            first, second = Sight(None), None
        if self.reads:
            for finding in (*judge_records(self.spot, first, self._fields()), *judge_pages(self.spot, first, second)):
                yield finding
            async for finding in self._since(first):
                yield finding
        async for finding in self._record(first):
            yield finding
        if self.writes:
            async for finding in self._writing(first):
                yield finding

    def _fields(self) -> list[str]:
        return list(self.dataset.fields or ())

    async def _writing(self, first: Sight) -> AsyncIterator[Finding]:
        """How a record is looked up, and what the remote says of methods."""
        writes, sample = self.resource.writes, next(iter(first.objects()), None)
        assert writes is not None
        if writes.lookup is not None and sample is not None and find(sample, writes.lookup.field) is not None:
            for finding in judge_lookup(self.spot, sample, await self._looked_up(sample)):
                yield finding
        for verb in filter(None, (writes.create, writes.update, writes.delete)):
            async for finding in self._allowed(verb, sample or {}):
                yield finding

    async def _pages(self, **query: str) -> tuple[Sight, Sight | None]:
        """The first page, and the second where pages follow each other in one list."""
        seen: list[Sight] = []
        async with aclosing(Lists(self.client, self.resource, query).pages()) as pages:
            async for fetched in pages:
                if fetched.answer is None:
                    continue
                seen.append(self._sight(fetched))
                if self.resource.parent is not None:
                    # Lists of other parents are no further pages.
                    if seen[-1].records or len(seen) == PARENTS:
                        return seen[-1], None
                elif len(seen) == 2 or not seen[0].records:
                    break
        return (seen[0] if seen else Sight(None), seen[1] if len(seen) > 1 else None)

    def _sight(self, fetched: Fetched) -> Sight:
        assert fetched.answer is not None
        records = [complete(self.resource, one, fetched.beside) for one in exact_records(fetched.answer, self.resource)]
        return Sight(fetched.answer, records, fetched.total, fetched.place is not None)

    async def _since(self, first: Sight) -> AsyncIterator[Finding]:
        """The list again, asked for what changes later than everything."""
        since = self.resource.since
        if since is None:
            return
        seen, value = None, future_of(self.resource, first.objects())
        try:
            if value is not None:
                seen, _ = await self._pages(**{since.parameter: value})
        except Problem as problem:
            if problem.facts.get("answered") is None:
                raise
            yield self.spot.finding(
                "since-refused",
                f"Asked for what changes in a year (`{since.parameter}` is {value}): {problem.detail}",
                "Correct `since.form` or `since.parameter`, unless the remote refuses only what lies ahead.",
                fatal=False,
            )
            return
        for finding in judge_since(self.spot, first, seen):
            yield finding

    async def _record(self, first: Sight) -> AsyncIterator[Finding]:
        """One record by its own path, the first of the list."""
        sample = next(iter(first.objects()), None)
        if self.resource.record is None or sample is None:
            return
        try:
            path = fill(self.resource.record, _texts(self.resource.record, sample))
        except PathUnfillable as problem:
            yield self.spot.told(problem)
            return
        try:
            answer = await self.client.get(Ask("GET", path, self.resource.query))
        except Problem as problem:
            if problem.facts.get("answered") is None:
                raise
            yield self.spot.finding(
                problem.code,
                f"Asked for one record of {self.spot.name}: {problem.detail}",
                "Correct `record` of the resource: the path at which a record of the list stands alone.",
            )
            return
        found: Any = search(parse_answer(answer), self.resource.record_at)
        for finding in judge_record(self.spot, sample, answer, found):
            yield finding

    async def _looked_up(self, sample: Record) -> Sight:
        lookup = self.resource.writes and self.resource.writes.lookup
        assert lookup
        seen, _ = await self._pages(**{lookup.parameter: text_of(find(sample, lookup.field))})
        return seen

    async def _allowed(self, verb: Verb, sample: Record) -> AsyncIterator[Finding]:
        """What OPTIONS tells of a method, as far as it tells anything."""
        try:
            path = fill(verb.path, _texts(verb.path, sample))
            answer = await self.client.get(Ask("OPTIONS", path))
        except Problem as problem:
            if problem.facts.get("sent") is False:
                raise
            return
        for finding in judge_allowed(self.spot, verb.method, answer.headers.get("allow", "")):
            yield finding


def _texts(path: str, record: Record) -> dict[str, str]:
    return {name: text_of(find(record, name)) for name in placeholders(path)}
