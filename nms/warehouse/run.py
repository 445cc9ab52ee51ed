"""The run that builds an entity: its table is made, or altered beside those who read and write it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from nms.common import clock
from nms.common.db.problems import TOO_LARGE, LockTimeout, ValueRefused
from nms.common.document import EntityDocument, normal_form
from nms.common.faults import point
from nms.common.problem import Problem, Retry
from nms.common.run import Claimed, Stop
from nms.common.waiting import first_of
from nms.warehouse.alteration import Alteration, Obstacle, Standing, compare_table
from nms.warehouse.entity import find_obstacles, make_entity, plan_needed
from nms.warehouse.models import Entity, read_entity
from nms.warehouse.problems import BuildCancelled, TableBusy, TextTooLong
from nms.warehouse.repository import EntityRepository
from nms.warehouse.table import (
    Index,
    create_functions,
    create_triggers,
    drop_check,
    drop_index,
    form_of,
    require_field,
    shorten_texts,
    table_of,
)

KIND: Final = "entity"
SHORT_LOCK, LONG_LOCK = 0.1, 0.7
"""Seconds that others may wait behind us for a table: the first time, and after many tries."""
LOCK_TRIES: Final = 40
BITE: Final = 1_000
"""Records that are written anew in one transaction."""
BITE_LOCK: Final = 0.1
"""Seconds: less than PostgreSQL's deadlock_timeout, so that we are always the one who gives way."""


class Builder:
    """The handler of runs that build an entity."""

    def __init__(self, repository: EntityRepository) -> None:
        self._repository = repository

    async def build(self, claimed: Claimed) -> None:
        """Make the entity that the run speaks of what its document says; raises the Problem that halts it."""
        entity = await self._repository.get_entity(claimed.run.subject)
        if entity is None or entity.state == "hidden":
            return
        try:
            await _until_stopped(claimed, self._build(claimed, entity))
        except Problem as problem:
            if problem.retry is Retry.NEVER and not claimed.stopping.is_set():
                await self._repository.mark_halted(entity.name, entity.wanted_revision, problem.to_dict())
            raise
        if claimed.reason is Stop.CANCELLED:
            told = f"The building of {entity.name} was cancelled; POST /tasks/{claimed.run.id}/retry goes on with it."
            cancelled = BuildCancelled(told, run=claimed.run.id)
            await self._repository.mark_halted(entity.name, entity.wanted_revision, cancelled.to_dict())

    async def _build(self, claimed: Claimed, entity: Entity) -> None:
        document = read_entity(entity.wanted)
        standing = await self._repository.get_table(entity.name)
        if standing is None:
            await make_entity(self._repository, document, entity.wanted_revision)
            return
        await self._refuse_obstacles(document, standing)
        alteration = compare_table(document, standing)
        if alteration.columns or entity.form != form_of(document):
            upto = await self._alter(claimed, document, alteration)
            point("entity.altered")
            await self._refuse_obstacles(document, await self._stand(document))
            if entity.form != form_of(document):
                await self._rewrite(claimed, entity, upto, standing.rows)
        await self._require(claimed, document, alteration)
        await self._index(claimed, document, alteration)
        async with self._repository.transaction() as tx:
            await claimed.fence(tx)
            body = normal_form(document)
            await tx.run_statements(create_functions(document))
            await tx.mark_built(entity.name, body, entity.wanted_revision, form_of(document))

    async def _refuse_obstacles(self, document: EntityDocument, standing: Standing) -> None:
        obstacles = await find_obstacles(self._repository, document, standing)
        if obstacles:
            raise plan_needed(document.name, obstacles)

    async def _stand(self, document: EntityDocument) -> Standing:
        standing = await self._repository.get_table(document.name)
        if standing is None:
            raise TableBusy(f"The table of {document.name} was taken away while it was being altered.")
        return standing

    async def _alter(self, claimed: Claimed, document: EntityDocument, alteration: Alteration) -> int:
        """Columns and triggers in one short transaction; gives the last sequence that was written by the old ones."""
        async with self._repository.transaction() as tx:
            await claimed.fence(tx)
            await tx.mark_altering(document.name)
        statements = [*alteration.columns, *create_functions(document, anew=True), *create_triggers(document)]
        return await self._locked(claimed, document, statements, alone=bool(alteration.columns))

    async def _locked(self, claimed: Claimed, document: EntityDocument, statements: list[str], *, alone: bool) -> int:
        for tries in range(LOCK_TRIES):
            with suppress(LockTimeout):
                async with self._repository.transaction() as tx:
                    await claimed.fence(tx)
                    await tx.lock_table(document.name, min(SHORT_LOCK * (tries + 1), LONG_LOCK), alone=alone)
                    await tx.run_statements(statements)
                    return await tx.get_last_sequence()
            await claimed.report({"current": tries, "total": None, "unit": "tries", "phase": "waiting for the table"})
            await first_of(claimed.stopping, timeout=clock.backoff(tries, base=0.1, cap=1.0))
        raise TableBusy(f"The table of {document.name} could not be locked for a moment.", entity=document.name)

    async def _rewrite(self, claimed: Claimed, entity: Entity, upto: int, rows: float) -> None:
        """Write the records anew that the triggers of before had written, in bites that nobody waits for."""
        place = claimed.checkpoint or {}
        if place.get("form") != form_of(read_entity(entity.wanted)):
            place = {"form": form_of(read_entity(entity.wanted)), "after": 0, "upto": upto, "written": 0}
        size = BITE
        while place["after"] < place["upto"]:
            try:
                span = (place["after"], place["upto"])
                last, count = await self._repository.rewrite_records(entity.name, span, size, BITE_LOCK)
            except LockTimeout:
                size = max(1, size // 4)
                await first_of(claimed.stopping, timeout=BITE_LOCK)
                continue
            size = min(BITE, size * 2)
            place = {**place, "after": last, "written": place["written"] + count}
            total = max(rows, place["written"])
            progress = {"current": place["written"], "total": total, "unit": "records", "phase": "writing records anew"}
            await claimed.report(progress, place)
            point("entity.rewritten")

    async def _require(self, claimed: Claimed, document: EntityDocument, alteration: Alteration) -> None:
        for name in alteration.required:
            note, validate, take_over = require_field(document, name)
            await self._locked(claimed, document, [note], alone=True)
            try:
                async with self._repository.apart() as apart:
                    await apart.run_statements([validate])
            except Problem:
                await self._locked(claimed, document, [drop_check(document.name, name)], alone=True)
                await self._refuse_obstacles(document, await self._stand(document))
                raise
            await self._locked(claimed, document, [take_over], alone=True)

    async def _index(self, claimed: Claimed, document: EntityDocument, alteration: Alteration) -> None:
        changes: list[str | Index] = [*alteration.dropped, *alteration.made]
        for at, change in enumerate(changes):
            await claimed.report({"current": at, "total": len(changes), "unit": "indexes", "phase": "making indexes"})
            async with self._repository.apart() as apart:
                if isinstance(change, str):
                    await apart.run_statements([drop_index(change)])
                else:
                    await _make_index(apart, document.name, change, claimed.run.id)


async def _make_index(apart: EntityRepository, entity: str, index: Index, run: int) -> None:
    try:
        await apart.run_statements([index.create(table_of(entity), concurrently=True)])
    except ValueRefused as problem:
        # What is left of it may refuse writes of what stands in the table already.
        await apart.run_statements([drop_index(index.name)])
        if problem.facts.get("sqlstate") != TOO_LARGE:
            raise
        told = f"there are records of `{entity}` whose `{index.field}` is too long for an index"
        obstacle = Obstacle(told, shorten_texts(entity, index.field))
        raise TextTooLong(f"{told}.", entity=entity, run=run, obstacles=[obstacle.to_dict()]) from None


async def _until_stopped(claimed: Claimed, work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it ends or the run is asked to stop: an index may take hours."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(claimed.stopping.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait({working})
    if not working.cancelled():
        working.result()
