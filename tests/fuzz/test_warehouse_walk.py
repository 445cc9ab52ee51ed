"""A walk through a list meets every record that is there the whole time exactly once, whoever writes meanwhile."""

import asyncio
import random
from collections import Counter

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from tests.fuzz.extent import Extent
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.waiting import eventually

WRITERS, LIMIT = 4, 250
POSTS = entity("posts", {"id": "bigint", "title": {"type": "text", "index": True}})
STAY = "insert into entity.posts select 2 * n, 'title ' || n % 100 from generate_series(1, $1::bigint) as n"


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def write(connection: asyncpg.Connection, count: int, seed: int, written: Counter[str]) -> None:
    """Change records that stay, and let others between them come and go, in transactions that commit late."""
    rand = random.Random(seed)
    while not written["ended"]:
        # Each has records of its own, so that none waits for another one.
        among = [rand.randint(0, count // WRITERS - 1) * WRITERS + seed + 1 for _ in range(20)]
        stay, pass_by = [2 * n for n in among], [2 * n - 1 for n in among]
        async with connection.transaction():
            await connection.execute("update entity.posts set title = title || 'x' where id = any($1)", stay)
            await connection.execute(
                "insert into entity.posts select unnest($1::bigint[]) on conflict do nothing", pass_by
            )
            await connection.execute("select pg_sleep($1)", rand.random() / 50)
            await connection.execute("delete from entity.posts where id = any($1)", pass_by[:12])
        written["transactions"] += 1


async def walk(client: httpx2.AsyncClient, way: str, cursor: str | None) -> tuple[Counter[int], str]:
    """How often each id is met from a cursor on, and the cursor of the last page."""
    met: Counter[int] = Counter()
    while True:
        page = (
            await client.get("/posts", params={"limit": str(LIMIT), **({"cursor": cursor} if cursor else {})})
        ).json()
        met.update(one["id"] for one in page["items"])
        if page[way] is None:
            assert cursor is not None
            return met, cursor
        cursor = page[way]


@pytest.mark.fuzz
async def test_a_walk_misses_and_doubles_nothing_while_others_write(settings: Settings, extent: Extent) -> None:
    count = extent.choose(20_000, 1_000_000)
    await make_entities(POSTS)
    written: Counter[str] = Counter()

    async def have_begun() -> bool:
        return written["transactions"] >= WRITERS

    async with connected(settings) as person, serving(settings) as client, asyncio.TaskGroup() as group:
        await person.execute(STAY, count)
        opened = [
            await asyncpg.connect(str(settings.db_dwh_dsn and settings.db_dwh_dsn.get_secret_value()))
            for _ in range(WRITERS)
        ]
        writers = [group.create_task(write(one, count, seed, written)) for seed, one in enumerate(opened)]
        await eventually(have_begun)
        with extent.telling(f"walks both ways through {count:,} records, {WRITERS} writers"):
            met, last = await walk(client, "next", None)
            back, _ = await walk(client, "prev", last)
        written["ended"] = 1
        await asyncio.gather(*writers)
        for one in opened:
            await one.close()
    stay = {2 * n for n in range(1, count + 1)}
    assert written["transactions"] > WRITERS
    assert stay <= met.keys()
    assert set(met.values()) == {1}
    # The walk back begins in front of the last page.
    end = max(id_ for id_ in back if id_ % 2 == 0)
    assert {id_ for id_ in stay if id_ <= end} <= back.keys()
    assert set(back.values()) == {1}
    assert len(back) > count - LIMIT
