"""A list is walked page by page while others write: no record is missing, none comes twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest

from nms.common.settings import Settings
from tests.fuzz.extent import Extent
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.waiting import eventually

POSTS = entity("posts", {"id": "bigint", "title": {"type": "text", "index": True}, "body": "text"})
WRITERS = 4
FILL = "insert into entity.posts (id, title, body) select n, md5(n::text), 'a' from generate_series(2, $1, 2) as n"
"""Even ids stay, under their title; odd ones come and go."""
WRITE = (
    "insert into entity.posts (id, title, body) values ($1::bigint | 1, md5(($1::bigint | 1)::text), $2)"
    " on conflict do nothing",
    "update entity.posts set body = $2 where id = $1 & ~1::bigint",
    "delete from entity.posts where id = $1 | 1 and body <> $2",
)


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@asynccontextmanager
async def writing(settings: Settings, rows: int) -> AsyncIterator[list[int]]:
    """Writers of whom each writes as fast as it can; what they wrote is counted."""
    written = [0] * WRITERS

    async def write(number: int) -> None:
        async with connected(settings) as person:
            while True:
                statement = random.choice(WRITE)
                await person.execute(statement, random.randrange(2, rows), str(random.random()))
                written[number] += 1

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    try:
        yield written
    finally:
        for writer in writers:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer


async def have_written(written: list[int]) -> bool:
    return all(written)


async def walk(client: httpx2.AsyncClient, path: str, limit: int) -> list[int]:
    """The ids of a whole list in the order they came."""
    found: list[int] = []
    cursor = ""
    while True:
        answer = await client.get(f"{path}&limit={limit}{cursor}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [one["id"] for one in page["items"]]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.fuzz
@pytest.mark.parametrize("sort", ["id", "-id", "-title"])
async def test_a_walk_beside_writers_misses_and_doubles_nothing(settings: Settings, extent: Extent, sort: str) -> None:
    rows = extent.choose(1_200, 2_000_000)
    await make_entities(POSTS)
    async with connected(settings) as person:
        await person.execute(FILL, rows, timeout=1800)
        await person.execute("vacuum analyze entity.posts")
    with extent.telling(f"a walk of {rows // 2:,} records by {sort} beside {WRITERS} writers"):
        async with serving(settings) as client, writing(settings, rows) as written:
            await eventually(lambda: have_written(written))
            found = await walk(client, f"/posts?fields=id&sort={sort}", extent.choose(20, 1_000))
    assert len(found) == len(set(found))
    assert sorted(one for one in found if one % 2 == 0) == list(range(2, rows + 1, 2))
