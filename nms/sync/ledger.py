"""The ledger of a pipeline in the own database, written under the fence of the run that works it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from nms.common import clock, outbox
from nms.common.ledger import Captured, Link, Settled, State
from nms.common.problem import Problem
from nms.common.run import Claimed
from nms.common.waiting import first_of
from nms.events.sync import ChangesUnkept
from nms.sync.repository import SyncRepository

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
PURGE_SIZE = 1_000
PURGE_SECONDS, BITE_SECONDS = 60.0, 0.1
SENT = ("sent", "unkept")
WAITING = ("sending", "folding")
REFUSED = ("refused", "unresolved")


class ChangeLedger:
    """Keeps what a pipeline sends: each change once, with its answer; it lives on as the archive."""

    def __init__(self, repository: SyncRepository, claimed: Claimed, pipeline: str, generation: int) -> None:
        self._repository = repository
        self._claimed = claimed
        self._pipeline = pipeline
        self._generation = generation
        self._counts: dict[str, int] = {}
        self._unkept = 0
        self._checked = float("-inf")

    async def known(self, identities: Sequence[str]) -> dict[str, State]:
        """Which of these changes were begun or settled before, and how; without those that were refused."""
        return await self._repository.list_known(self._pipeline, identities)

    async def begin(self, changes: Sequence[Captured]) -> None:
        """Write changes down that are about to be sent, and those folded into them; raises LeaseLost."""
        async with self._fenced() as tx:
            await tx.insert_changes(self._pipeline, self._generation, [_row(one) for one in changes])

    async def check(self) -> None:
        """Before a request: raises LeaseLost where another worker has the run now; asks twice a second at most."""
        if clock.monotonic() - self._checked >= CHECK_SECONDS:
            async with self._fenced():
                pass

    async def settle(self, settled: Sequence[Settled], links: Sequence[Link]) -> None:
        """Write what became of changes, of those folded into them, and of their records; raises LeaseLost."""
        unkept = [one for one in settled if one.state == "unkept"]
        async with self._fenced() as tx:
            await tx.mark_changes(self._pipeline, [asdict(one) for one in settled])
            known = [one for one in links if one.remote is not None]
            gone = [one for one in links if one.remote is None]
            if known:
                await tx.upsert_records(self._pipeline, [asdict(one) for one in known])
            if gone:
                await tx.delete_records(self._pipeline, [asdict(one) for one in gone])
            if unkept and not self._unkept:
                # Once for as long as the pipeline is open: a remote that forgets forgets everything.
                await outbox.put(tx, ChangesUnkept(pipeline=self._pipeline, detail=unkept[0].detail or ""))
            self._counts = await tx.list_change_counts(self._pipeline)
        self._unkept += len(unkept)

    async def withdraw(self, identities: Sequence[str]) -> None:
        """Forget changes that were begun and certainly had no effect, with those folded into them; raises LeaseLost."""
        async with self._fenced() as tx:
            await tx.delete_unsent(self._pipeline, identities)

    async def unanswered(self) -> list[Captured]:
        """Changes that were begun and not settled, oldest first: they may have had their effect."""
        self._counts = await self._repository.list_change_counts(self._pipeline)
        return await self._repository.list_unanswered(self._pipeline)

    async def links(self, dataset: str, place: str, keys: Sequence[str]) -> dict[str, Link]:
        """What is known of records at a place, by our key."""
        found = await self._repository.list_records(self._pipeline, dataset, place, keys)
        return {one.key: one for one in found}

    async def elsewhere(self, dataset: str, place: str, keys: Sequence[str]) -> set[str]:
        """Those of some keys whose records are known at another place."""
        return await self._repository.list_keys_elsewhere(self._pipeline, dataset, place, keys) if keys else set()

    async def forbidden(self, dataset: str, method: str) -> list[str]:
        """Marks of the records that a remote forbade to a method since it last let one through."""
        return await self._repository.list_forbidden(self._pipeline, dataset, method)

    def facts(self) -> dict[str, Any]:
        """How many changes there were, by what became of them: captured = sent + saved + waiting + refused.

        `unkept` beside them are those since the pipeline was opened.
        """
        return {"changes": count_states(self._counts), "unkept": self._unkept} if self._counts else {}

    @asynccontextmanager
    async def _fenced(self) -> AsyncIterator[SyncRepository]:
        async with self._repository.transaction() as tx:
            await self._claimed.fence(tx)
            at = clock.monotonic()
            yield tx
        self._checked = at


async def purge(repository: SyncRepository, keep: float, stop: asyncio.Event) -> None:
    """Delete what was answered `keep` seconds ago, in small bites, until told to stop; any number may do so."""
    while not stop.is_set():
        try:
            count = await repository.delete_old_changes(keep, PURGE_SIZE)
        except Problem as problem:
            log.warning("old changes could not be purged: %s", problem.detail)
            count = 0
        await first_of(stop, timeout=PURGE_SECONDS if count < PURGE_SIZE else BITE_SECONDS)


def count_states(counts: dict[str, int]) -> dict[str, int]:
    """The sums that an operator is told, from the numbers of changes by state."""
    return {
        "captured": sum(counts.values()),
        "sent": sum(counts.get(state, 0) for state in SENT),
        "saved": counts.get("saved", 0),
        "waiting": sum(counts.get(state, 0) for state in WAITING),
        "refused": sum(counts.get(state, 0) for state in REFUSED),
        "unkept": counts.get("unkept", 0),
    }


def _row(one: Captured) -> dict[str, Any]:
    return {
        "dataset": one.dataset,
        "key": one.key,
        "op": one.op,
        "identity": one.identity,
        "state": "sending" if one.into is None else "folding",
        "folded_into": one.into,
        "plan": one.plan,
        "committed": one.committed,
    }
