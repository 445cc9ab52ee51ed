"""A REST API as a target: each change is written down, sent, and settled by its answer, in order per key.

At least once, and once in effect where the remote honours an idempotency key, or lets a record be looked up: what may
have had its effect is looked up before it is sent again (DESIGN 4.1, 4.6).
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Self

from nms.common import faults
from nms.common.change import Op
from nms.common.cloudevents import Event, EventWriter
from nms.common.document.rest import Resource, RestSystem
from nms.common.flow import Applied, Batch, ChangeRefused, OutletSpec, Store
from nms.common.ledger import Captured, Ledger
from nms.common.problem import Problem
from nms.connectors.rest.client import Client
from nms.connectors.rest.look import Looker
from nms.connectors.rest.order import Act, Order, idempotency_key
from nms.connectors.rest.plan import Job, fold, make_job, phases, segments
from nms.connectors.rest.refusals import OutcomeUnresolved, ResourceUnfit, TruncateUnsent, ValueUnwritable
from nms.connectors.rest.sending import Means, Refusal
from nms.connectors.rest.wave import Wave

WAVE = 64
"""So many writes are written down, sent and settled together."""


@dataclass(slots=True)
class Tally:
    """What was done with a batch; the changes that were refused, each with the reason."""

    changes: int = 0
    requests: int = 0
    folded: int = 0
    missing: int = 0


class RestTarget:
    """Writes records one by one; those of different keys side by side."""

    def __init__(self, client: Client, spec: OutletSpec, store: Store, ledger: Ledger) -> None:
        self._spec = spec
        self._store = store
        self._ledger = ledger
        self._events = EventWriter(spec.source, spec.pipeline, spec.fields)
        self._means = {dataset: _means(client, dataset, address, spec) for dataset, address in spec.addresses.items()}
        self._resources = AsyncExitStack()
        self._refused: dict[str, Problem] = {}

    @classmethod
    async def open(cls, system: RestSystem, spec: OutletSpec, store: Store) -> Self:
        """Be ready to send, and resolve what may have been sent before; raises a Problem."""
        if spec.ledger is None:
            raise ResourceUnfit("a REST API is written with a ledger only")
        async with AsyncExitStack() as resources:
            client = await resources.enter_async_context(Client.opened(system))
            made = cls(client, spec, store, spec.ledger)
            await made._resolve()
            made._resources = resources.pop_all()
        return made

    async def apply(self, batch: Batch) -> Applied:
        """Send a batch and keep its position once all of it is answered; raises ChangeRefused or a Problem."""
        tally = Tally()
        async for events in self._events.events(batch):
            await self._take(batch, events, tally)
        faults.point("outlet.before_save")
        await self._store.save(batch.position)
        self._refused.clear()
        return Applied(batch.position, tally.changes, tally.requests, tally.folded, tally.missing)

    async def close(self) -> None:
        """Let go of the client; safe to call twice."""
        await self._resources.aclose()

    # --- a part of a batch ------------------------------------------------------------------------------------------

    async def _take(self, batch: Batch, events: Sequence[Event], tally: Tally) -> None:
        known = await self._ledger.known([event.id for event in events]) if events else {}
        for event in events:
            if known.get(event.id) == "unresolved":
                text = f"a new record of {event.change.shape.dataset} may have been made, and cannot be looked up"
                raise ChangeRefused(event.change, OutcomeUnresolved(text))
        tally.changes += len(events)
        # Rows of a chunk that come as changes have ends, and are no small batch.
        copied = batch.load is not None or "replayed" in batch.position or (batch.small is None and bool(batch.ends))
        for barrier, segment in segments(events, known):
            jobs = self._plan(segment, barrier=barrier, copied=copied)
            tally.folded += len(segment) - len(jobs)
            await self._work(jobs, batch.committed, tally)

    def _plan(self, segment: list[Event], *, barrier: bool, copied: bool) -> list[Job]:
        first = segment[0].change
        if first.op is Op.TRUNCATE:
            raise ChangeRefused(
                first, TruncateUnsent(f"{first.shape.dataset} was emptied", dataset=first.shape.dataset)
            )
        try:
            names = self._spec.fields
            jobs = [make_job(segment, first, names)] if barrier else fold(segment, names, copied=copied)
        except ValueError:
            raise self._unwritable(segment) from None
        for job in jobs:
            for event in job.events:
                if event.id in self._refused:
                    raise ChangeRefused(job.events[0].change, self._refused[event.id])
            key = idempotency_key(self._spec.pipeline, self._spec.generation, job.identity)
            job.order = replace(job.order, idempotency_key=key)
        return jobs

    def _unwritable(self, segment: list[Event]) -> ChangeRefused:
        for event in segment:
            try:
                make_job([event], event.change, self._spec.fields)
            except ValueError as error:
                text = f"a value of {event.change.shape.dataset} has no form in JSON: {error}"
                return ChangeRefused(event.change, ValueUnwritable(text))
        raise AssertionError("each of the changes can be written")

    async def _work(self, jobs: Sequence[Job], committed: float | None, tally: Tally) -> None:
        refused: list[tuple[Job, Problem]] = []
        deleted = False
        for phase in phases(jobs, list(self._means)):
            deleted = deleted or phase[0].order.act is Act.DELETE
            refused += await self._send(phase, committed, tally)
        if refused and deleted:
            # What a deleted record stood in the way of can be written now.
            again = [job for job, _ in refused]
            refused = [
                one for phase in phases(again, list(self._means)) for one in await self._send(phase, committed, tally)
            ]
        if refused:
            self._refused |= {job.identity: problem for job, problem in refused}
            job, problem = refused[0]
            raise ChangeRefused(job.events[0].change, problem)

    async def _send(self, jobs: Sequence[Job], committed: float | None, tally: Tally) -> list[tuple[Job, Problem]]:
        means, refused = self._means[jobs[0].dataset], []
        width = self._width(means)
        for wave in (jobs[at : at + width] for at in range(0, len(jobs), width)):
            links = await self._ledger.links(jobs[0].dataset, [job.linked for job in wave])
            orders = [(job.identity, job.with_link(links.get(job.linked))) for job in wave]
            begun = [captured for job in wave for captured in job.captured(committed)]
            results = await Wave(means, self._ledger, orders).run(begun)
            for job in wave:
                result = results[job.identity]
                if isinstance(result, Refusal):
                    refused.append((job, result.problem))
                else:
                    tally.requests += result.attempts > 0
                    tally.missing += result.missing
        return refused

    def _width(self, means: Means) -> int:
        # After a crash all of a wave may have had its effect: where that cannot be looked up, waves are small.
        writes = means.writes
        resolvable = writes.idempotency or writes.lookup or (means.resource.record and not writes.assigned)
        return WAVE if resolvable else writes.unordered

    # --- after a crash ----------------------------------------------------------------------------------------------

    async def _resolve(self) -> None:
        """Find out what became of the changes that were sent when the pipeline was worked last."""
        for one in await self._ledger.unanswered():
            if one.plan is not None:
                # What is refused comes again with its batch, and is held then.
                await self._repeat(one)

    async def _repeat(self, one: Captured) -> None:
        means = self._means.get(one.dataset)
        if means is None:
            await self._ledger.withdraw([one.identity])
            return
        drafted = Order.of(one.plan or "", None, one.idempotency_key or "")
        name = drafted.name if drafted.old is None else replace(drafted, key=drafted.old).name
        links = await self._ledger.links(one.dataset, [name])
        order = replace(drafted, link=links.get(name))
        await Wave(means, self._ledger, [(one.identity, order)]).run(())


def _means(client: Client, dataset: str, address: str, spec: OutletSpec) -> Means:
    resource: Resource | None = client.system.resources.get(address)
    if resource is None or resource.writes is None:
        raise ResourceUnfit(f"resource {address} of {client.system.name} declares no `writes`", resource=address)
    return Means(client, dataset, resource, Looker(client, resource), spec.heals)
