"""A slot is found by its name and its database: a stranger's slot of the same name is neither measured nor touched."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.problems import SlotLost
from nms.connectors.postgres.retention import measure_slots, release_slot
from tests.conftest import MakeDatabase


@dataclass
class Twin:
    """A slot that stands in one database, and another database of the same server that looks for its name."""

    name: str
    there: Connection
    here: Access

    async def stands(self) -> bool:
        """Whether the slot is still there."""
        return bool(
            await self.there.fetchval("select count(*) from pg_replication_slots where slot_name = $1", self.name)
        )


@pytest.fixture(params=["another database", "no database"])
async def twin(request: pytest.FixtureRequest, make_database: MakeDatabase) -> AsyncIterator[Twin]:
    owner = await make_database()
    here = await make_database() if request.param == "another database" else owner
    logical = request.param == "another database"
    make = "logical_replication_slot($1, 'pgoutput')" if logical else "physical_replication_slot($1, true)"
    there = await asyncpg.connect(owner)
    found = Twin("nms_" + owner.rsplit("/", 1)[-1].replace("-", "_"), there, Access("here", here))
    await there.execute(f"select pg_create_{make}", found.name)
    try:
        yield found
    finally:
        await there.execute("select pg_drop_replication_slot($1)", found.name)
        await there.close()


async def test_the_guard_neither_measures_nor_releases_a_strangers_slot(twin: Twin) -> None:
    assert await measure_slots(twin.here, [twin.name]) == []
    await release_slot(twin.here, twin.name)
    assert await twin.stands()


async def test_a_pipeline_neither_drops_nor_replaces_nor_reads_a_strangers_slot(twin: Twin) -> None:
    connection = await catalog.connect(twin.here, name="test")
    try:
        await slot.drop_slot(connection, twin.name)
        with pytest.raises(asyncpg.DuplicateObjectError):
            await slot.create_slot(connection, twin.name)
        with pytest.raises(SlotLost):
            await slot.measure_slot(connection, twin.name)
        place = await catalog.queries.get_place(connection)
        with pytest.raises(SlotLost):
            await slot.check_slot(connection, twin.name, place["lsn"], place["system_identifier"])
    finally:
        await connection.close()
    assert await twin.stands()
