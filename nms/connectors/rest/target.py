"""A REST API as a target: each change is written down, sent, and settled by its answer, in order per key.

At least once, and once in effect where the remote honours an idempotency key, or lets a record be looked up: what may
have had its effect is looked up before it is sent again (DESIGN 4.1, 4.6).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Self

from nms.common import faults
from nms.common.change import Op
from nms.common.cloudevents import Event, EventWriter
from nms.common.document.rest import Resource, RestSystem
from nms.common.flow import Applied, Batch, ChangeRefused, OutletSpec, Store
from nms.common.ledger import Ledger, Link
from nms.common.problem import Problem
from nms.connectors.rest.client import Client
from nms.connectors.rest.form import place_of
from nms.connectors.rest.look import Looker
from nms.connectors.rest.order import Act, Order, as_uuid
from nms.connectors.rest.plan import Errand, fold, make_errand, phases, segments
from nms.connectors.rest.refusals import OutcomeUnresolved, ResourceUnfit, TruncateUnsent, ValueUnwritable
from nms.connectors.rest.rights import Rights
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
        self._means = {
            dataset: _means(client, dataset, address, spec, ledger) for dataset, address in spec.addresses.items()
        }
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
        # What is copied may be there already, and so may what is polled.
        insert = Act.ENSURE if copied else Act.FOLLOW if self._spec.polled else Act.CREATE
        for barrier, segment in segments(events, known):
            errands = self._plan(segment, insert, barrier=barrier)
            tally.folded += len(segment) - len(errands)
            await self._work(errands, batch.committed, tally)

    def _plan(self, segment: list[Event], insert: Act, *, barrier: bool) -> list[Errand]:
        first = segment[0].change
        if first.op is Op.TRUNCATE:
            raise ChangeRefused(
                first, TruncateUnsent(f"{first.shape.dataset} was emptied", dataset=first.shape.dataset)
            )
        try:
            names = self._spec.fields
            errands = [make_errand(segment, first, names)] if barrier else fold(segment, names, insert)
        except ValueError:
            raise self._unwritable(segment) from None
        for errand in errands:
            for event in errand.events:
                if event.id in self._refused:
                    raise ChangeRefused(errand.events[0].change, self._refused[event.id])
            seed = as_uuid(self._spec.pipeline, str(self._spec.generation), errand.identity)
            errand.order = replace(errand.order, seed=seed)
        return errands

    def _unwritable(self, segment: list[Event]) -> ChangeRefused:
        for event in segment:
            try:
                make_errand([event], event.change, self._spec.fields)
            except ValueError as error:
                text = f"a value of {event.change.shape.dataset} has no form in JSON: {error}"
                return ChangeRefused(event.change, ValueUnwritable(text))
        raise AssertionError("each of the changes can be written")

    async def _work(self, errands: Sequence[Errand], committed: float | None, tally: Tally) -> None:
        refused: list[tuple[Errand, Problem]] = []
        deleted = False
        for phase in phases(errands, list(self._means)):
            deleted = deleted or phase[0].order.act is Act.DELETE
            refused += await self._send(phase, committed, tally)
        if refused and deleted:
            # What a deleted record stood in the way of can be written now.
            again = [errand for errand, _ in refused]
            refused = [
                one for phase in phases(again, list(self._means)) for one in await self._send(phase, committed, tally)
            ]
        if refused:
            self._refused |= {errand.identity: problem for errand, problem in refused}
            errand, problem = refused[0]
            raise ChangeRefused(errand.events[0].change, problem)

    async def _send(
        self, errands: Sequence[Errand], committed: float | None, tally: Tally
    ) -> list[tuple[Errand, Problem]]:
        means, refused = self._means[errands[0].dataset], []
        width = self._width(means)
        for some in (errands[at : at + width] for at in range(0, len(errands), width)):
            links, elsewhere = await self._known(means, {errand.linked: errand.follows for errand in some})
            wave = [errand for errand in some if not self._is_strange(errand, {*links, *elsewhere})]
            for errand in wave:
                link, afar = links.get(errand.linked), errand.linked in elsewhere
                errand.order = replace(errand.order, link=link, elsewhere=afar)
            orders = [(errand.identity, errand.order) for errand in wave]
            begun = [captured for errand in wave for captured in errand.captured(committed)]
            results = await Wave(means, self._ledger, orders).run(begun)
            for errand in wave:
                result = results[errand.identity]
                if isinstance(result, Refusal):
                    refused.append((errand, result.problem))
                else:
                    tally.requests += result.attempts > 0
                    tally.missing += result.missing
        return refused

    async def _known(self, means: Means, follows: Mapping[str, bool]) -> tuple[Mapping[str, Link], set[str]]:
        """What is known of records, by the keys of their links; and those keys that may have been written before and
        are known at another place only.
        """
        links = await self._ledger.links(means.dataset, means.place, list(follows))
        unknown = [name for name, written in follows.items() if written and name not in links]
        return links, await self._ledger.elsewhere(means.dataset, means.place, unknown)

    def _is_strange(self, errand: Errand, known: Collection[str]) -> bool:
        """Whether it deletes a record that is none of the pipeline's, as far as is known: its row left no filter."""
        sifted = self._spec.polled and errand.dataset in self._spec.sifted
        return sifted and errand.order.act is Act.DELETE and errand.linked not in known

    def _width(self, means: Means) -> int:
        # After a crash all of a wave may have had its effect: where that cannot be looked up, waves are small.
        writes = means.writes
        resolvable = writes.idempotency or writes.lookup or (means.resource.record and not writes.assigned)
        return WAVE if resolvable else writes.unordered

    # --- after a crash ----------------------------------------------------------------------------------------------

    async def _resolve(self) -> None:
        """Find out what became of the changes that were sent when the pipeline was worked last."""
        waiting = [one for one in await self._ledger.unanswered() if one.plan is not None]
        for dataset, some in groupby(waiting, key=lambda one: one.dataset):
            await self._repeat(dataset, [(one.identity, Order.of(one.plan or "")) for one in some])

    async def _repeat(self, dataset: str, drafted: Sequence[tuple[str, Order]]) -> None:
        means = self._means.get(dataset)
        if means is None:
            await self._ledger.withdraw([identity for identity, _ in drafted])
            return
        for some in _apart(drafted, WAVE):
            follows = {order.linked: order.act not in (Act.CREATE, Act.ENSURE) for _, order in some}
            links, elsewhere = await self._known(means, follows)
            orders = [
                (identity, replace(order, link=links.get(order.linked), elsewhere=order.linked in elsewhere))
                for identity, order in some
            ]
            # What is refused comes again with its batch, and is held then.
            await Wave(means, self._ledger, orders).run(())


def _apart(drafted: Sequence[tuple[str, Order]], most: int) -> Iterator[list[tuple[str, Order]]]:
    """Orders in waves of at most so many, each with one order a record."""
    wave: dict[str, tuple[str, Order]] = {}
    for identity, order in drafted:
        if len(wave) >= most or order.linked in wave:
            yield list(wave.values())
            wave = {}
        wave[order.linked] = identity, order
    if wave:
        yield list(wave.values())


def _means(client: Client, dataset: str, address: str, spec: OutletSpec, ledger: Ledger) -> Means:
    resource: Resource | None = client.system.resources.get(address)
    if resource is None or resource.writes is None:
        raise ResourceUnfit(f"resource {address} of {client.system.name} declares no `writes`", resource=address)
    rights, place = Rights(partial(ledger.forbidden, dataset)), place_of(client.system, resource)
    looker = Looker(client, resource)
    return Means(client, dataset, resource, looker, spec.heals, check=ledger.check, rights=rights, place=place)
