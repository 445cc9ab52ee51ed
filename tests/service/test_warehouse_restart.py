"""What the warehouse told before PostgreSQL crashed holds afterwards: no place of the feed comes twice."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import httpx2
import pytest

from nms.common.db.migrations import upgrade
from nms.common.settings import Settings
from tests.conftest import DB, MakeServer
from tests.service.role_process import children_of
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.services.postgres import PostgresServer
from tests.waiting import insist

POSTS = entity("posts", {"id": "bigint", "title": "text"})


@pytest.fixture
async def own(make_server: MakeServer) -> PostgresServer:
    return await make_server("18")


@pytest.fixture
async def shared_dwh(own: PostgresServer) -> str:
    dsn = await own.create_database("dwh")
    await upgrade(dsn, DB / "dwh/migrations")
    return dsn


async def read(client: httpx2.AsyncClient, since: int) -> tuple[list[str], int]:
    answer = await client.get("/data", params={"since": since})
    answer.raise_for_status()
    return [one["key"] for one in answer.json()["items"]], answer.json()["next"]


async def write(client: httpx2.AsyncClient, number: int) -> None:
    (await client.put(f"/posts/{number}", json={})).raise_for_status()


def writer_of_the_log(server: PostgresServer) -> int:
    """The process that brings the log to disk where nobody commits."""
    return next(pid for pid in children_of(server.pid) if b"walwriter" in Path(f"/proc/{pid}/cmdline").read_bytes())


async def roll_back(settings: Settings) -> None:
    """Take sequences that no commit brings to disk."""
    async with connected(settings) as person:
        late = person.transaction()
        await late.start()
        await person.execute("insert into entity.posts (id) select generate_series(100, 200)")
        await late.rollback()


async def look(client: httpx2.AsyncClient, tag: str = "") -> httpx2.Response:
    answer = await client.get("/posts", headers={"If-None-Match": tag})
    if answer.status_code != 304:
        answer.raise_for_status()
    return answer


async def look_beside_a_writer(client: httpx2.AsyncClient, settings: Settings, since: int) -> int:
    """No tag of a list hides a commit that is late, though its sequence was settled once; gives a place of the feed."""
    async with connected(settings) as person:
        async with person.transaction():
            await person.execute("insert into entity.posts (id) values (50)")
            await insist(partial(write, client, 51), httpx2.HTTPStatusError)
            tag = (await insist(partial(look, client), httpx2.HTTPStatusError)).headers.get("etag", "")
        assert "50" in (await look(client, tag)).text
    keys, after = await read(client, since)
    assert keys == ["50", "51"]
    return after


async def test_a_place_that_was_told_is_never_that_of_a_later_change(settings: Settings, own: PostgresServer) -> None:
    """Neither by the feed nor by an export; sequences go on behind the last change, after a crash and after a stop."""
    await make_entities(POSTS)
    async with serving(settings) as client:
        await write(client, 1)
        writer = writer_of_the_log(own)
        os.kill(writer, signal.SIGSTOP)
        try:
            await roll_back(settings)
            _, after = await read(client, 0)
            told = json.loads((await client.get("/posts/export?format=ndjson")).text.splitlines()[-1])
            assert "etag" in (await look(client)).headers
        finally:
            os.kill(writer, signal.SIGKILL)
        exported = told["_end"]["sequence"]
        await own.restart("immediate")
        after = exported = await look_beside_a_writer(client, settings, after)
        for number in (2, 3):
            assert await insist(partial(read, client, after), httpx2.HTTPStatusError) == ([], after)
            await insist(partial(write, client, number), httpx2.HTTPStatusError)
            keys, later = await read(client, after)
            assert keys == [str(number)]
            assert await read(client, exported) == (keys, later)
            after = exported = later
            await own.restart()
