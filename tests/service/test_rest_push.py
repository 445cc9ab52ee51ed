"""A table that is pushed to an API: every change once in effect, whatever the API answers."""

import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.remote_writes import Push
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually


@pytest.fixture
async def push(
    settings: Settings, make_database: MakeDatabase, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> Push:
    return await Push.set(await make_database(), hostile_api, monkeypatch)


async def test_what_changes_in_a_table_reaches_the_api(push: Push) -> None:
    await push.stage.at("source", "insert into item select n, 'n' || n, 'old' from generate_series(1, 30) n")
    await push.begin()
    async with push.streaming():
        await eventually(push.is_mirrored)
        for sql in (
            "insert into item values (101, 'new', null), (102, 'new', 'x')",
            "update item set name = upper(name) where id <= 10",
            "delete from item where id between 11 and 15",
            "update item set id = id + 1000 where id between 21 and 25",
        ):
            await push.stage.at("source", sql)
        await eventually(push.is_mirrored)
    assert all(one.get("create", 0) <= 1 for one in push.api.counts("items").values())
