"""Databases in different encodings: every character that the target has arrives as it is."""

import uuid
from collections.abc import AsyncIterator

import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.stage import Stage
from tests.services.postgres import PostgresServer

NAMES = "select name from public.item order by id"


@pytest.fixture
async def latin(server: PostgresServer) -> AsyncIterator[str]:
    """The DSN of a database in LATIN1."""
    name = f"latin_{uuid.uuid4().hex[:8]}"
    await server.execute(
        f"create database {name} owner nms template template0 encoding 'LATIN1' locale 'C' strategy wal_log"
    )
    yield server.dsn(name)
    await server.drop_database(name)


async def test_a_source_in_latin1_arrives_in_utf8(settings: Settings, make_database: MakeDatabase, latin: str) -> None:
    stage = await Stage.set(settings, latin, await make_database())
    await stage.at("source", "insert into public.item values (1, 'Zoë copied')")
    await stage.begin()
    async with stage.working():
        await stage.arrive(NAMES, ["Zoë copied"])
        await stage.reach("streaming")
        await stage.at("source", "insert into public.item values (2, 'José followed')")
        await stage.arrive(NAMES, ["Zoë copied", "José followed"])
        await stage.at("source", "insert into public.item select n, 'Ünder ' || n from generate_series(3, 1002) n")
        await stage.arrive("select count(*) from public.item where name like 'Ünder %'", [1000])


async def test_a_character_that_the_target_lacks_is_held(
    settings: Settings, make_database: MakeDatabase, latin: str
) -> None:
    stage = await Stage.set(settings, await make_database(), latin)
    await stage.begin()
    (one,) = await stage.answer("doctor", "items")
    assert [finding["code"] for finding in one["findings"]] == ["encoding-differs"]
    async with stage.working():
        await stage.reach("streaming")
        await stage.at("source", "insert into public.item values (1, 'Zoë'), (2, '漢字'), (3, 'José')")
        await stage.arrive(NAMES, ["Zoë", "José"])
        (held,) = await stage.answer("quarantine", "list", "items")
        assert held["key"] == "2"
