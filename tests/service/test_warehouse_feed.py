"""`GET /data`: every change once and none missed, deletions too; only what the caller may see; and waiting for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.document import EntityDocument
from nms.common.settings import Settings
from nms.warehouse import change
from nms.warehouse.change import Changes, Span
from nms.warehouse.entities import Entities
from nms.warehouse.repository import FeedRepository
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.service.web_client import problem_of
from tests.waiting import eventually

POSTS = entity("posts", {"id": "bigint", "title": "text"})
PEOPLE = entity("people", {"id": "text", "name": "text"})
SETTLED_NAIVELY = """create or replace function warehouse.settled() returns bigint language sql volatile as $body$
    select last_value - (not is_called)::integer from warehouse.sequence $body$"""


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    await make_entities(POSTS, PEOPLE)
    async with serving(settings) as client:
        yield client


@pytest.fixture
async def person(settings: Settings, client: httpx2.AsyncClient) -> AsyncIterator["asyncpg.Connection[Any]"]:
    async with connected(settings) as person:
        yield person


async def read(client: httpx2.AsyncClient, **query: Any) -> tuple[list[dict[str, Any]], int]:
    answer = await client.get("/data", params=query)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return page["items"], page["next"]


def told(items: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["entity"], one["key"], one["op"]) for one in items]


async def test_changes_of_all_entities_come_in_one_order(
    client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]"
) -> None:
    await client.put("/posts/1", json={"title": "a"})
    await client.put("/people/ann%20%2F1", json={"name": 'An"n'})
    await person.execute("insert into entity.posts (id, title, _source) values (2, 'b', 'crm')")
    await client.patch("/posts/1", json={"title": "c"})
    items, after = await read(client)
    assert told(items) == [("people", "ann%20%2F1", "upsert"), ("posts", "2", "upsert"), ("posts", "1", "upsert")]
    assert [one["sequence"] for one in items] == sorted(one["sequence"] for one in items)
    assert items[0]["record"] == {"id": "ann /1", "name": 'An"n'}
    assert [one["source"] for one in items] == ["local", "crm", "local"]
    assert after == items[-1]["sequence"]
    assert await read(client, since=after) == ([], after)
    await client.delete("/people/ann%20%2F1")
    gone, later = await read(client, since=after)
    assert told(gone) == [("people", "ann%20%2F1", "delete")]
    assert (gone[0]["record"], gone[0]["source"]) == (None, "local")
    await person.execute("truncate entity.posts")
    assert sorted(told((await read(client, since=later))[0])) == [("posts", "1", "delete"), ("posts", "2", "delete")]


async def test_pages_lose_and_double_nothing_however_they_are_cut(
    client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    await person.execute(
        "insert into entity.posts (id, title) select n, repeat('x', 100) from generate_series(1, 25) n"
    )
    await person.execute("insert into entity.people (id) select n from generate_series(1, 25) n")
    await person.execute("delete from entity.posts where id % 5 = 0")
    whole, last = await read(client)
    assert len(whole) == 50
    for limit, largest in ((1, 1 << 20), (7, 1 << 20), (50, 1 << 20), (1000, 300), (1000, 1)):
        monkeypatch.setattr("nms.warehouse.repository.LARGEST_PAGE", largest)
        found, after = await read(client, limit=limit)
        while page := await read(client, since=after, limit=limit):
            if not page[0]:
                break
            assert len(page[0]) <= limit
            found, after = found + page[0], page[1]
        assert (found, after) == (whole, last)
    monkeypatch.setattr("nms.warehouse.repository.LARGEST_PAGE", change.LARGEST_PAGE)
    by_offset = [await read(client, offset=offset, limit=20) for offset in (0, 20, 40, 60)]
    assert [one for items, _ in by_offset for one in items] == whole
    assert (await read(client, since=by_offset[0][1], limit=20)) == by_offset[1], "`next` leads on from any page"


async def test_a_late_commit_is_not_missed(client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]") -> None:
    """And without what tells how far everything is settled it would be: that is shown at the end."""
    for planted in (False, True):
        if planted:
            await person.execute(SETTLED_NAIVELY)
        await person.execute("truncate entity.posts")
        _, start = await read(client)
        late = person.transaction()
        await late.start()
        await person.execute("insert into entity.posts (id) values (1)")
        await client.put("/posts/2", json={})
        first, after = await read(client, since=start)
        await late.commit()
        second, _ = await read(client, since=after)
        found = [key for _, key, _ in told(first + second)]
        assert found == (["2"] if planted else ["1", "2"])


async def test_what_the_caller_may_not_see_is_absent_and_positions_go_on(
    client: httpx2.AsyncClient, settings: Settings
) -> None:
    for n in range(5):
        await client.put(f"/posts/{n}", json={})
        await client.put(f"/people/{n}", json={})
    await client.delete("/people/0")
    everything, last = await read(client)
    assert len(everything) == 10
    async with serving(settings, "entities:read:people", "entities:read:nowhere") as some:
        items, after = await read(some)
        assert told(items) == [("people", str(n), "upsert") for n in range(1, 5)] + [("people", "0", "delete")]
        assert after == last
        assert "posts" not in json.dumps(items)
        await client.put("/posts/9", json={})
        assert await read(some, since=after) == ([], after + 1)
    async with serving(settings, "entities:read:nowhere") as none:
        assert (await read(none))[0] == []
    async with serving(settings, "entities:write", "tasks:read") as writer:
        problem_of(await writer.get("/data"), 403, "scope-missing")


async def test_waiting_ends_with_the_change_and_not_before(
    client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]"
) -> None:
    _, start = await read(client)
    waiting = [asyncio.create_task(read(client, since=start, wait=60)) for _ in range(3)]
    late = person.transaction()
    await late.start()
    await person.execute("insert into entity.posts (id) values (1)")
    await client.put("/posts/2", json={})
    done, _ = await asyncio.wait(waiting, timeout=0.5)
    assert not done, "an earlier sequence is still under way"
    # Whoever rolls back tells nobody, and yet nobody waits for it any longer.
    await late.rollback()
    for one in waiting:
        items, after = await asyncio.wait_for(one, 30)
        assert told(items) == [("posts", "2", "upsert")]
        assert after >= items[-1]["sequence"]


async def test_what_is_built_while_somebody_waits_is_told(
    client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]"
) -> None:
    _, start = await read(client)
    waiting = asyncio.create_task(read(client, since=start, wait=60))
    await asyncio.wait([waiting], timeout=0.2)
    await make_entities(entity("late", {"id": "bigint"}))
    await person.execute("insert into entity.late values (7)")
    await client.put("/posts/1", json={})
    items, after = await asyncio.wait_for(waiting, 30)
    later, _ = await read(client, since=after)
    assert told([*items, *later]) == [("late", "7", "upsert"), ("posts", "1", "upsert")]


async def test_an_entity_that_becomes_known_while_a_page_is_read_is_not_passed_by(
    client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look, looked = asyncio.Event(), asyncio.Event()
    look, list_changes = Entities.look, FeedRepository.list_changes

    async def late_look(entities: Entities) -> None:
        await may_look.wait()
        await look(entities)
        looked.set()

    async def held(repository: FeedRepository, documents: Sequence[EntityDocument], span: Span) -> Changes:
        found = await list_changes(repository, documents, span)
        may_look.set()
        await looked.wait()
        return found

    _, start = await read(client)
    monkeypatch.setattr(Entities, "look", late_look)
    await make_entities(entity("late", {"id": "bigint"}))
    await person.execute("insert into entity.late values (7)")
    await client.put("/posts/1", json={})
    monkeypatch.setattr(FeedRepository, "list_changes", held)
    assert told((await read(client, since=start))[0]) == [("late", "7", "upsert"), ("posts", "1", "upsert")]


async def test_waiting_has_an_end(client: httpx2.AsyncClient, settings: Settings) -> None:
    assert await read(client, wait=0.2) == ([], 0)
    async with serving(settings, "entities:read:people") as some:
        waiting = asyncio.create_task(read(some, since=0, wait=1))
        await client.put("/posts/1", json={})
        assert await waiting == ([], 1), "what nobody may see wakes nobody, and its place is passed"


async def test_nobody_who_waits_holds_a_connection(
    client: httpx2.AsyncClient, person: "asyncpg.Connection[Any]"
) -> None:
    waiting = [asyncio.create_task(read(client, wait=60)) for _ in range(40)]

    async def all_idle() -> bool:
        busy = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        return bool(await person.fetchval(busy) <= 12 and not any(one.done() for one in waiting))

    await eventually(all_idle)
    await client.put("/posts/1", json={})
    assert {len((await asyncio.wait_for(one, 30))[0]) for one in waiting} == {1}


async def test_a_place_that_the_feed_never_had_is_told(client: httpx2.AsyncClient) -> None:
    await client.put("/posts/1", json={})
    assert problem_of(await client.get("/data?since=2"), 409, "feed-position-ahead")["newest"] == 1
    for query in ("since=-1", "since=x", "since=9223372036854775808", "limit=0", "limit=1001", "wait=61", "wait=nan",
                  "offset=10001", "since=0&offset=1", "wait=1&offset=1"):  # fmt: skip
        problem_of(await client.get(f"/data?{query}"), 422, "malformed")
