"""What full text looks at is kept right while an entity becomes another one."""

from typing import Any

import asyncpg
import pytest

from nms.common import faults
from nms.common.settings import Settings
from tests.service.test_entity_evolution import ITEMS, make, reach, want, working
from tests.service.warehouse import entity
from tests.waiting import eventually


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def test_what_is_written_while_an_entity_is_built_is_found_by_its_new_text(
    settings: Settings, psql: asyncpg.Connection
) -> None:
    fields = {**ITEMS, "text": "text", "number": "bigint"}
    searched: dict[str, Any] = {"type": "text", "search": True}
    async with working():
        await make(entity("items", {**fields, "name": searched}))
    await psql.execute(
        "insert into entity.items (id, name, text) select n, 'one', 'two' from generate_series(1, 9) as n"
    )
    faults.arm("entity.altered=raise@1", "test")
    try:
        async with working():
            await want(entity("items", {**fields, "text": searched}))

            async def broken() -> bool:
                return bool(await psql.fetchval("select max(attempts) from common.run where problem is not null"))

            await eventually(broken)
    finally:
        faults.arm("", "test")
    # The triggers are of the new document, and what stands in a record is of the old one.
    await psql.execute("update entity.items set number = 7 where id = 3")
    async with working():
        await reach("items", "ready", entity("items", {**fields, "text": searched}))
    assert await psql.fetchval("select string_agg(distinct _search::text, ' ') from entity.items") == "'two':1"
    await psql.execute("update entity.items set number = 8, text = case id when 4 then 'three' else text end")
    words = await psql.fetch("select _search::text, count(*) from entity.items group by 1 order by 1")
    assert [tuple(row) for row in words] == [("'three':1", 1), ("'two':1", 8)]
