"""The build of an entity is cancelled: it stops, says so, and goes on when it is told to, not by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from nms.cfg.repository import DocumentRepository
from nms.common.configuration import current_documents
from nms.common.run import DwhRunRepository, RunState, request_cancel, retry
from nms.common.settings import Settings
from nms.warehouse import document as following
from nms.warehouse.models import Entity
from nms.warehouse.repository import EntityRepository
from nms.warehouse.worker import work_runs
from tests.service.test_entity_evolution import ITEMS, make, reach, want, working
from tests.service.warehouse import entity, make_entities
from tests.waiting import PATIENCE, eventually

BEFORE = entity("items", ITEMS)
AFTER = entity("items", {**ITEMS, "name": {"type": "text", "index": True}})


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def making_indexes(runs: DwhRunRepository) -> int:
    """The run that has come so far."""

    async def look() -> int | None:
        found = await runs.list(kind="entity", subject="items", state=RunState.RUNNING)
        return found[0].id if found and (found[0].progress or {}).get("phase") == "making indexes" else None

    return await eventually(look)


async def cancel(runs: DwhRunRepository, run: int) -> Entity:
    """Cancel a run until it is over; gives what is told of its entity."""

    async def is_over() -> bool:
        return (await runs.get(run)).state is RunState.CANCELLED

    await request_cancel(runs, run)
    halted = await reach("items", "halted")
    await eventually(is_over)
    return halted


async def test_a_build_that_is_cancelled_stops_and_says_so(
    settings: Settings, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    runs = await DwhRunRepository.open()
    async with working():
        await make(BEFORE)
        await psql.execute("insert into entity.items (id) values (1)")
        async with psql.transaction():
            # An index beside writers waits for them.
            await psql.execute("update entity.items set name = 'held'")
            await want(AFTER)
            run = await making_indexes(runs)
            halted = await cancel(runs, run)
        assert halted.built == BEFORE
        assert halted.problem is not None
        assert halted.problem["code"] == "build-cancelled"
        assert f"POST /tasks/{run}/retry goes on with it" in halted.problem["detail"]
        await retry(runs, run)
        await reach("items", "ready", AFTER)


@asynccontextmanager
async def working_runs() -> AsyncIterator[None]:
    stop = asyncio.Event()
    worker = asyncio.create_task(work_runs(await EntityRepository.open(), stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(worker, PATIENCE)


async def test_a_build_that_is_cancelled_while_the_documents_are_looked_at_is_not_begun_anew(
    settings: Settings, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities, runs = await EntityRepository.open(), await DwhRunRepository.open()
    await make_entities(BEFORE, revision=0)
    await psql.execute("insert into entity.items (id) values (1)")
    await want(AFTER)
    configuration = await current_documents(await DocumentRepository.open())
    assert await following.adopt(entities, configuration) == ["items"]
    list_entities = EntityRepository.list_entities
    async with working_runs():
        async with psql.transaction():
            await psql.execute("update entity.items set name = 'held'")
            run = await making_indexes(runs)

            async def list_and_cancel(repository: EntityRepository) -> list[Entity]:
                found = await list_entities(repository)
                await cancel(runs, run)
                return found

            with monkeypatch.context() as patch:
                patch.setattr(EntityRepository, "list_entities", list_and_cancel)
                assert await following.adopt(entities, configuration) == []
        await retry(runs, run)
        await reach("items", "ready", AFTER)
