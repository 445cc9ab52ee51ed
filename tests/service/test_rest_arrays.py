"""Arrays are JSON arrays at an API, and arrays of their type in a table."""

from typing import Any

import pytest

from nms.common.settings import Settings
from nms.connectors.postgres.twoway.opening import PREPARE
from tests.conftest import MakeDatabase
from tests.service.remote_writes import FIELDS, Push
from tests.service.rest_stage import api, begin, make_stage, pull, things
from tests.service.test_twoway import WRITES, both
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

COLUMNS = "add tags text[], add sizes numeric[]"
# PostgreSQL quotes blanks of ASCII only.
TAGS = r"""'{"a b",NULL,"NULL","x,\"y\"",?}', '{{1.5,2},{3,4}}'""".replace("?", "a\u00a0b")
SENT = [["a b", None, "NULL", 'x,"y"', "a\u00a0b"], [[1.5, 2], [3, 4]]]


async def test_arrays_arrive_as_json_arrays(
    outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi
) -> None:
    push = await Push.set(outbound, await make_database(), hostile_api)
    await push.stage.at("source", f"alter table item {COLUMNS}")
    await push.begin(fields={**FIELDS, "tags": "tags", "sizes": "sizes"}, verify=True)
    async with push.streaming():
        await push.stage.at("source", f"insert into item values (1, 'a', null, {TAGS})")
        await push.told(captured=1, sent=1, unkept=0)
    assert _arrays(hostile_api.records("items")[1]) == SENT


async def test_arrays_are_pulled(outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi) -> None:
    hostile_api.add("things")
    hostile_api.write("things", {"name": "a", "tags": ["t", None, 'x,"y"'], "sizes": [[1, 2.5]]})
    hostile_api.write("things", {"name": "b", "tags": [], "sizes": None})
    stage = await make_stage(outbound, await make_database())
    await stage.at("target", f"alter table public.things {COLUMNS}")
    await begin(stage, api(hostile_api.url), pull())
    async with stage.working():
        there = "select row(tags, sizes)::text from public.things order by id"
        await stage.arrive(there, [r'''("{t,NULL,""x,\\""y\\""""}","{{1,2.5}}")''', "({},)"])


async def test_arrays_go_both_ways(
    outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_LEASE", "1")
    hostile_api.add("things", upsert=True, etag="strong")
    hostile_api.write("things", {"name": "theirs", "tags": ["t", None, 'x,"y"'], "sizes": [[1, 2.5]]})
    stage = await make_stage(outbound, await make_database())
    await stage.at("target", PREPARE)
    await stage.at("target", f"alter table public.things {COLUMNS}")
    fields = {name: name for name in ("id", "name", "tags", "sizes")}
    dataset = {"source": "things", "target": "public.things", "fields": fields}
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), both(datasets=[dataset]))
    there = "select row(tags, sizes)::text from public.things where id = 1"

    async def written() -> bool:
        return _arrays(hostile_api.records("things").get(2, {})) == SENT

    async with stage.working():
        await stage.arrive(there, [r'''("{t,NULL,""x,\\""y\\""""}","{{1,2.5}}")'''])
        await stage.at("target", f"insert into public.things (id, name, tags, sizes) values (2, 'ours', {TAGS})")
        await eventually(written)
        await stage.at("target", "update public.things set tags = array_append(tags, 'new') where id = 1")

        async def followed() -> bool:
            return bool(hostile_api.records("things")[1]["tags"] == ["t", None, 'x,"y"', "new"])

        await eventually(followed)
        assert await stage.answer("conflicts", "list", "items") == []


def _arrays(record: dict[str, Any]) -> list[Any]:
    return [record.get("tags"), record.get("sizes")]
