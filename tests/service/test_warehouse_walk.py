"""A list is walked page by page while others write: no record is missing, none comes twice, and depth costs nothing."""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.db.readers import Readers
from nms.common.settings import Settings
from nms.warehouse import statement
from nms.warehouse.statement import Listing
from tests.fuzz.extent import Extent
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.waiting import eventually

POSTS = entity("posts", {"id": "bigint", "title": {"type": "text", "index": True}, "body": "text"})
WRITERS = 4
FILL = "insert into entity.posts (id, title, body) select n, md5(n::text), 'a' from generate_series(2, $1, 2) as n"
"""Even ids stay, under their title; odd ones come and go."""
COME = (
    "insert into entity.posts (id, title, body) select n, md5(n::text), $2 from unnest($1::bigint[]) as n"
    " on conflict do nothing"
)
STAY = "update entity.posts set body = $2 where id = any($1)"
GO = "delete from entity.posts where id = any($1::bigint[]) and body <> $2"
BITE = 20
DEEP, DEPTH = 0.9, 1.3
ASKED = 300
"""Pages at each depth."""


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def fill(person: asyncpg.Connection, records: int) -> None:
    await make_entities(POSTS)
    await person.execute(FILL, 2 * records, timeout=1800)
    await person.execute("vacuum analyze entity.posts")


async def write(person: asyncpg.Connection, records: int, number: int) -> None:
    """Change records that stay, have others come and go: one by one, or many in a transaction that commits late."""
    # Each has records of its own, so that none waits for another one.
    among = [random.randrange(records // WRITERS) * WRITERS + number + 1 for _ in range(BITE)]
    stay, pass_by, body = [2 * n for n in among], [2 * n - 1 for n in among], str(random.random())
    if random.random() < 0.5:
        for sql, ids in ((COME, pass_by), (STAY, stay), (GO, pass_by)):
            await person.execute(sql, ids[:1], body)
        return
    async with person.transaction():
        await person.execute(STAY, stay, body)
        await person.execute(COME, pass_by, body)
        await person.execute("select pg_sleep($1)", random.random() / 50)
        await person.execute(GO, pass_by[: BITE // 2], "")


@asynccontextmanager
async def writing(settings: Settings, records: int) -> AsyncIterator[list[int]]:
    """Writers of whom each writes as fast as it can; how often they did is counted."""
    written = [0] * WRITERS

    async def work(number: int) -> None:
        async with connected(settings) as person:
            while True:
                await write(person, records, number)
                written[number] += 1

    async def have_written() -> bool:
        return all(written)

    writers = [asyncio.create_task(work(number)) for number in range(WRITERS)]
    try:
        await eventually(have_written)
        yield written
    finally:
        for writer in writers:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer


async def walk(client: httpx2.AsyncClient, path: str, way: str = "next", cursor: str = "") -> tuple[list[int], str]:
    """The ids of a whole list in its order, from a cursor on, and the cursor of the last page."""
    pages: list[list[int]] = []
    while True:
        answer = await client.get(path + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([one["id"] for one in page["items"]])
        if page[way] is None:
            in_order = pages if way == "next" else pages[::-1]
            return [one for ids in in_order for one in ids], cursor
        cursor = page[way]


def faults_of(found: Sequence[int], stay: Sequence[int]) -> list[str]:
    """What is wrong with a walk: whatever stays comes once and in its order, whatever passes by at most once."""
    often, there = Counter(found), set(stay)
    missing = [one for one in stay if one not in often]
    doubled = [one for one, times in often.items() if times > 1]
    moved = [one for one, other in zip((one for one in found if one in there), stay, strict=False) if one != other]
    told = {"missing": missing, "doubled": doubled, "in another order": [] if missing or doubled else moved}
    return [f"{len(ids)} {what}, {ids[:3]} first" for what, ids in told.items() if ids]


def order_by(sort: str, records: int) -> list[int]:
    """The ids of what stays, in an order."""
    ids = range(2, 2 * records + 1, 2)
    if sort != "-title":
        return sorted(ids, reverse=sort == "-id")
    return sorted(ids, key=lambda id_: (hashlib.md5(b"%d" % id_).hexdigest(), id_), reverse=True)


@pytest.mark.fuzz
async def test_a_walk_beside_writers_misses_and_doubles_nothing(settings: Settings, extent: Extent) -> None:
    records, limit = extent.choose(600, 1_000_000), extent.choose(20, 1_000)
    async with connected(settings) as person:
        await fill(person, records)
    async with serving(settings) as client, writing(settings, records) as written:
        for sort in ("id", "-id", "-title"):
            before, stay = sum(written), order_by(sort, records)
            path = f"/posts?fields=id&sort={sort}&limit={limit}"
            with extent.telling(f"a walk of {records:,} records by {sort}, on and back, beside {WRITERS} writers"):
                on, last = await walk(client, path)
                back, _ = await walk(client, path, "prev", last)
            extent.told.append(f"  who wrote {sum(written) - before:,} times meanwhile")
            assert not faults_of(on, stay)
            # What came since the last page was read on may have pushed some of it out of the page that is read again.
            end = 1 + stay.index(next(one for one in reversed(back) if one % 2 == 0))
            assert end > records - limit
            assert not faults_of(back, stay[:end])


async def test_a_record_that_is_skipped_or_doubled_is_seen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the checker of these walks, where pages end at another record than they say."""
    records, limit = 50, 10
    stay = order_by("id", records)
    async with connected(settings) as person:
        await fill(person, records)
    ends = {"missing": limit + 1, "doubled": limit - 1}
    for fault, end in ends.items():

        def planted(_: Listing, end: int = end) -> tuple[str, str]:
            return "1", f"least(found, {end})"

        monkeypatch.setattr(statement, "_edges", planted)
        async with serving(settings) as client:
            found, _ = await walk(client, f"/posts?limit={limit}")
        told = faults_of(found, stay)
        assert len(told) == 1
        assert told[0].startswith(("4 " if fault == "missing" else "5 ") + fault)
    swapped = [stay[1], stay[0], *stay[2:]]
    assert faults_of(swapped, stay) == ["2 in another order, [4, 2] first"]


@pytest.mark.fuzz
async def test_a_page_costs_the_same_at_any_depth(
    settings: Settings, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the blocks that PostgreSQL looks at; the long form measures time too, beside writers."""
    records, limit = extent.choose(10_000, 1_000_000), extent.choose(200, 1_000)
    asked: list[tuple[Any, ...]] = []
    fetch_row = Readers.fetch_row

    async def noting(readers: Readers, text: str, *values: Any) -> Any:
        asked.append((text, *values))
        return await fetch_row(readers, text, *values)

    monkeypatch.setattr(Readers, "fetch_row", noting)
    async with connected(settings) as person, serving(settings) as client:
        await fill(person, records)
        cursor, blocks = "", []
        for page in range(round(records * DEEP) // limit + 1):
            path = f"/posts?limit={limit}{cursor}"
            cursor = f"&cursor={(await client.get(path)).json()['next']}"
            if page == 0:
                blocks.append(await weigh(person, asked[0]))
        blocks.append(await weigh(person, asked[-1]))
        assert blocks[0] > 5
        assert blocks[1] <= DEPTH * blocks[0], blocks
        if extent.long:
            async with writing(settings, records) as written:
                ratio = await compare(client, "/posts?limit=100", f"/posts?limit=100{cursor}")
            assert sum(written) > 0
            extent.told.append(
                f"a page behind {DEEP:.0%} of {records:,} records beside {WRITERS} writers: {ratio:.2f} x the first"
                f" page (medians of {ASKED}), {blocks[1]} blocks, the first {blocks[0]}"
            )
            assert ratio <= DEPTH


async def weigh(person: asyncpg.Connection, asked: tuple[Any, ...]) -> int:
    """The blocks that a statement looks at."""
    text, *values = asked
    [plan] = json.loads(await person.fetchval(f"explain (analyze, buffers, format json) {text}", *values))
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


async def compare(client: httpx2.AsyncClient, first: str, deep: str) -> float:
    """What the deep page takes by what the first one takes; in turns, so that a busy machine is busy for both."""
    seconds: dict[str, list[float]] = {first: [], deep: []}
    for _ in range(ASKED):
        for path, taken in seconds.items():
            began = time.perf_counter()
            assert len((await client.get(path)).json()["items"]) == 100
            taken.append(time.perf_counter() - began)
    return median(seconds[deep]) / median(seconds[first])
