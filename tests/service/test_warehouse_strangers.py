"""What strangers ask of the warehouse: each is refused with its place or answered, and nothing changes."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from tests.service.test_warehouse_reads import COMMENTS, POSTS, put_posts
from tests.service.warehouse import connected, make_entities, serving
from tests.service.web_client import problem_of

DROP = '"; drop table entity.posts; --'
IN = ",".join(map(str, range(1001)))
# Behaviour -> what is asked of the list, and the pointers of the answer.
REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "deep offset": ("offset=10001", ("/offset",)),
    "offset past all numbers": (f"offset={'9' * 40}", ("/offset",)),
    "offset below nothing": ("offset=-1", ("/offset",)),
    "huge limit": ("limit=1001", ("/limit",)),
    "limit past all numbers": (f"limit={'9' * 40}", ("/limit",)),
    "limit of nothing": ("limit=0", ("/limit",)),
    "many filters": ("&".join(["id.gt=1"] * 101), ("/id.gt",)),
    "many parameters": ("&".join(["id.gt=1"] * 201), ("",)),
    "many values": (f"id.in={IN}", ("/id.in",)),
    "many conditions": (f"filter={' or '.join(['id eq 1'] * 101)}", ("/filter",)),
    "deep filter": (f"filter={'(' * 21}id eq 1{')' * 21}", ("/filter",)),
    "long filter": (f"filter=title eq '{'x' * 8000}'", ("/filter",)),
    "long search": (f"q={'x' * 1001}", ("/q",)),
    "pattern with an open end": ("title.like=x%5C", ("/title.like",)),
    "pattern of a number": ("id.like=1%25", ("/id.like",)),
    "statement as a field": (f"{quote(DROP)}=1", (f"/{DROP}",)),
    "statement as an operator": (f"title.{quote(DROP)}=1", (f"/title.{DROP}",)),
    "statement as an order": (f"sort={quote(DROP)}", ("/sort",)),
    "statement as what is shown": (f"fields=id,{quote(DROP)}", ("/fields",)),
    "statement within a filter": (f"filter=id eq 1; {quote(DROP)}", ("/filter",)),
    "column of the house": ("_raw.is=null", ("/_raw.is",)),
    "column of the system": ("sort=ctid", ("/sort",)),
    "character without text": ("title=%00", ("/title",)),
    "half of a character": ("title=%ff", ("",)),
}
# Behaviour -> a path that names no record.
NOT_FOUND = {
    "table of the system": "/pg_class",
    "table with its schema": "/warehouse.tombstone",
    "statement as an entity": f"/posts{quote(DROP)}",
    "statement as a key": f"/posts/1{quote(DROP)}",
    "statement as a child": f"/posts/1/comments{quote(DROP)}",
    "way out of the directory": "/posts/..%2f..%2fetc%2fpasswd",
    "key past all numbers": f"/posts/{'9' * 40}",
    "key without text": "/posts/%00",
    "file of a path": "/exports/..%2f..%2fetc%2fpasswd/file",
}
# Behaviour -> what is asked, and how many records that finds.
ANSWERED = {
    "pattern of many ways": (f"title.like={quote('%a' * 100 + '%b')}", 0),
    "pattern of many ways, either case": (f"title.ilike={quote('%A' * 100 + '%B')}", 0),
    "pattern as a regular expression": (f"title.like={quote('(a+)+$')}", 0),
    "statement as a value": (f"title={quote(DROP)}", 1),
    "statement as a search": (f"q={quote(DROP)}", 1),
}


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def person(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as connection:
        await put_posts(connection, 20)
        await connection.execute(
            "insert into entity.posts (id, title) values (21, repeat('a', 100000)), (22, $1)", DROP
        )
        yield connection


@pytest.fixture
async def client(settings: Settings, person: asyncpg.Connection) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(settings) as client:
        yield client


async def test_what_strangers_ask_is_refused_with_its_place_and_changes_nothing(
    client: httpx2.AsyncClient, person: asyncpg.Connection
) -> None:
    before = (await client.get("/posts")).content
    found = {}
    for name, (query, _) in REFUSED.items():
        told = problem_of(await client.get(f"/posts?{query}"), 422, "malformed")
        found[name] = tuple(dict.fromkeys(one["pointer"] for one in told["errors"]))
    assert found == {name: pointers for name, (_, pointers) in REFUSED.items()}
    for path in NOT_FOUND.values():
        assert (await client.get(path)).status_code in (404, 422), path
    assert (await client.get("/posts")).content == before
    assert await person.fetchval("select count(*) from entity.posts") == 22


async def test_patterns_and_statements_as_values_are_values(client: httpx2.AsyncClient) -> None:
    found = {}
    for name, (query, _) in ANSWERED.items():
        answer = await client.get(f"/posts?{query}")
        assert answer.status_code == 200, (name, answer.text)
        found[name] = len(answer.json()["items"])
    assert found == {name: count for name, (_, count) in ANSWERED.items()}
