"""A wave: writes of different records side by side, written down before they are sent and settled together."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nms.common import clock, faults
from nms.common.ledger import Captured, Ledger, Link, Settled
from nms.common.problem import Problem
from nms.common.waiting import together
from nms.connectors.rest.order import Order, Outcome
from nms.connectors.rest.refusals import OutcomeUnresolved, WriteFails, WriteForbidden
from nms.connectors.rest.sending import Means, Refusal
from nms.connectors.rest.write import Write

GRACE_SECONDS = 5.0
"""What is under way when the pipeline is told to stop may take so long to be answered."""
GLANCE_SECONDS = 0.05


@dataclass(slots=True)
class Item:
    """One write of a wave: its name for ever, and what became of it (None: it was never begun)."""

    identity: str
    write: Write
    result: Outcome | Refusal | Problem | None = None


class Wave:
    """Carries out the orders of one dataset, so many at a time; after the first Problem no other is begun."""

    def __init__(self, means: Means, ledger: Ledger, orders: Sequence[tuple[str, Order]]) -> None:
        self._means = means
        self._ledger = ledger
        self._items = [Item(identity, Write(means, order)) for identity, order in orders]
        self._lanes: list[asyncio.Task[None]] = []
        self._stopped = False

    async def run(self, begun: Sequence[Captured]) -> dict[str, Outcome | Refusal]:
        """What came of each order by its identity; raises the Problem that stopped it, when all is written down.

        `begun` are its changes for the ledger, none where they stand there already. Cancelled, it lets requests under
        way come to their end for a while: an answer that nobody reads is an outcome that nobody knows.
        """
        work = asyncio.ensure_future(self._work(begun))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopped = True
            await self._land(work)
            raise
        failed = next((item.result for item in self._items if isinstance(item.result, Problem)), None)
        if failed is not None:
            raise failed
        return {item.identity: item.result for item in self._items if isinstance(item.result, Outcome | Refusal)}

    async def _land(self, work: asyncio.Future[None]) -> None:
        """Wait for answers to what is under way, and for nothing else: neither for a turn nor for a second try."""
        until = clock.monotonic() + GRACE_SECONDS
        while not work.done() and clock.monotonic() < until:
            for lane in self._lanes:
                if lane not in self._means.client.under_way:
                    lane.cancel()
            await asyncio.wait({work}, timeout=GLANCE_SECONDS)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    async def _work(self, begun: Sequence[Captured]) -> None:
        if begun:
            await self._ledger.begin(begun)
        faults.point("rest.before_send")
        waiting = iter(self._items)
        async with together() as lanes:
            self._lanes += [lanes.create_task(self._lane(waiting)) for _ in range(self._means.writes.unordered)]
        faults.point("rest.before_settle")
        await self._weigh()
        unsent = [item.identity for item in self._items if _is_unsent(item)]
        if unsent:
            await self._ledger.withdraw(unsent)
        settled = [item for item in self._items if isinstance(item.result, Outcome | Refusal)]
        if settled:
            links = [link for item in settled for link in item.write.sending.outcome.links]
            await self._ledger.settle([_settled(item) for item in settled], _newest(links))

    async def _weigh(self) -> None:
        """Where nothing is let through at all, that is no matter of the records: none of them is held."""
        try:
            await self._means.rights.check()
        except WriteFails as problem:
            for item in self._items:
                if isinstance(item.result, Refusal) and isinstance(item.result.problem, WriteForbidden):
                    item.result = problem

    async def _lane(self, waiting: Iterator[Item]) -> None:
        for item in waiting:
            if self._stopped:
                return
            try:
                item.result = await item.write.run()
            except Refusal as refusal:
                item.result = refusal
            except Problem as problem:
                item.result, self._stopped = problem, True


def _is_unsent(item: Item) -> bool:
    sending = item.write.sending
    # What had its effect, and whose look behind it failed, is looked up when the pipeline is worked next.
    return (item.result is None or isinstance(item.result, Problem)) and not (sending.doubt or sending.effect)


def _newest(links: Sequence[Link]) -> list[Link]:
    return list({link.key: link for link in links}.values())


def _settled(item: Item) -> Settled:
    outcome = item.write.sending.outcome
    facts: dict[str, Any] = {
        "method": outcome.method, "path": outcome.path, "idempotency_key": outcome.idempotency_key,
        "body": outcome.body, "status": outcome.status,
        "answer": outcome.answer, "attempts": outcome.attempts,
    }  # fmt: skip
    if isinstance(item.result, Refusal):
        unresolved = isinstance(item.result.problem, OutcomeUnresolved)
        return Settled(
            item.identity, "unresolved" if unresolved else "refused", detail=item.result.problem.detail, **facts
        )
    return Settled(item.identity, outcome.state, detail=outcome.detail, **facts)
