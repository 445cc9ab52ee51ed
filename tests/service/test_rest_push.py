"""A table that is pushed to an API: every change once in effect, whatever the API answers."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from nms.common import outbox
from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.connectors.rest import wave
from nms.connectors.rest.rights import MOST
from nms.sync import ledger
from nms.sync.ledger import purge
from nms.sync.main import create_app
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase
from tests.service.remote_writes import Push
from tests.service.stage import pipeline
from tests.service.web_client import client_of
from tests.services.hostile.api import HostileApi
from tests.services.node import NodeServer
from tests.waiting import eventually


@pytest.fixture
async def push(outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi) -> Push:
    return await Push.set(outbound, await make_database(), hostile_api)


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


async def test_each_change_is_kept_with_its_request_and_the_answer(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item values (1, 'a', null), (2, 'b', 'x')")
        await eventually(push.is_mirrored)
        # In one transaction, so that two changes become one request.
        await push.stage.at("source", "begin; update item set name = 'c'; update item set note = 'y'; commit")
        await eventually(push.is_mirrored)
        await push.told(captured=6, sent=4, saved=2)
        newest = await push.stage.answer("changes", "list", "push", "--key", "2")
        assert [one["state"] for one in newest] == ["sent", "saved", "sent"]
        assert (newest[0]["method"], newest[0]["status"]) == ("PATCH", 200)
        assert json.loads(newest[0]["body"]) == {"name": "c", "note": "y"}
        assert newest[1]["folded_into"] == newest[0]["identity"]
        found = await push.stage.answer("changes", "list", "push", "--q", '"B"', "--state", "sent")
        assert [one["op"] for one in found] == ["insert"]
        shown = await push.stage.answer("changes", "show", "push", found[0]["id"])
        assert json.loads(shown["answer"])["reference"] == 2


async def test_a_change_that_the_api_refuses_is_held_and_its_neighbours_arrive(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        push.api.plan("422", method="POST", times=1)
        await push.stage.at("source", "insert into item select n, 'n', 'x' from generate_series(1, 5) n")
        await eventually(lambda: push.holds(1))
        await push.stage.at("source", "update item set name = 'm'")
        await eventually(lambda: push.holds(2))
        (key,) = {one["key"] for one in await push.stage.answer("quarantine", "list", "push")}
        await push.stage.nms("quarantine", "replay", "push", "--key", key)
        await eventually(push.is_mirrored)
        await push.told(refused=1)
    assert {acts["create"] for acts in push.api.counts("items").values()} == {1}


async def test_records_that_are_forbidden_are_held_and_the_others_arrive(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'a', null from generate_series(1, 40) n")
        await eventually(push.is_mirrored)
        # More of them than would tell of the login, were not others let in.
        push.api.plan("403", method="PATCH", path="/items/([1-9]|1[0-5])$")
        await push.stage.at("source", "update item set name = 'b'")
        await eventually(lambda: push.holds(15))
        held = await push.stage.answer("quarantine", "list", "push")
        assert {one["problem"]["code"] for one in held} == {"write-forbidden"}
        push.api.unplan()
        await push.stage.nms("quarantine", "replay", "push", "--all")
        await eventually(push.is_mirrored)


async def test_a_login_that_may_not_write_is_told_and_does_not_fill_the_quarantine(push: Push) -> None:
    async def told() -> bool:
        found = await push.stage.get("push")
        return (found.problem or {}).get("code") == "write-fails"

    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'a', null from generate_series(1, 14) n")
        await eventually(push.is_mirrored)
        push.api.plan("403", method="PATCH")
        for number in range(1, 13):
            await push.stage.at("source", f"update item set name = 'b' where id = {number}")
        await eventually(told)
    held = len(await push.stage.answer("quarantine", "list", "push"))
    assert held < MOST
    async with push.stage.working():
        tried = len(push.api.requests())

        async def again() -> bool:
            return len(push.api.requests()) > tried

        await eventually(again)
        await eventually(told)
        assert len(await push.stage.answer("quarantine", "list", "push")) == held
        push.api.unplan()
        await push.stage.nms("resume", "push")
        await push.stage.reach("streaming", name="push")
        await push.stage.nms("quarantine", "replay", "push", "--all")
        await eventually(push.is_mirrored)


async def test_another_name_of_the_key_makes_no_record_twice(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item values (1, 'one', null), (2, 'two', null)")
        await eventually(push.is_mirrored)
    lookup = {"parameter": "external", "field": "external"}
    await push.begin(fields={"id": "external", "name": "name", "note": "note"}, lookup=lookup)
    async with push.streaming():
        await push.stage.at("source", "update item set name = 'changed'")
        await push.told(captured=4, sent=4)
    found = {number: (one["external"], one["name"]) for number, one in push.api.records("items").items()}
    assert found == {1: (1, "changed"), 2: (2, "changed")}


async def test_another_place_has_other_records_under_the_same_keys(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item values (1, 'one', null), (2, 'two', null)")
        await eventually(push.is_mirrored)
    # From a sandbox to production, where these keys are somebody else's.
    push.api.add("items")
    for reference in (900, 901):
        push.api.write("items", {"reference": reference, "name": "theirs", "note": None})
    await push.begin(system={"url": push.api.url.replace("127.0.0.1", "localhost")})
    async with push.streaming():
        await push.stage.at("source", "update item set name = 'changed'")
        await push.told(captured=4, sent=4)
    found = [(one["reference"], one["name"]) for one in push.api.records("items").values()]
    assert sorted(found) == [(1, "changed"), (2, "changed"), (900, "theirs"), (901, "theirs")]


async def test_another_spelling_of_the_place_makes_nothing_twice_where_nothing_is_looked_up(push: Push) -> None:
    writes: dict[str, Any] = {"lookup": None, "idempotency": "Idempotency-Key"}
    push.api.configure("items", idempotency=True)
    await push.begin(**writes)
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'n', null from generate_series(1, 3) n")
        await eventually(push.is_mirrored)
    await push.begin(system={"url": push.api.url.replace("127.0.0.1", "localhost")}, **writes)
    async with push.streaming():
        await push.stage.at("source", "update item set name = 'changed' where id < 3")
        await push.stage.at("source", "delete from item where id = 3")
        await push.told(captured=6, sent=3, refused=3)
        held = await push.stage.answer("quarantine", "list", "push")
        assert "record-elsewhere" in {one["problem"]["code"] for one in held}
    assert len(push.records()) == 3
    await push.begin(**writes)
    async with push.streaming():
        await push.stage.nms("quarantine", "replay", "push", "--all")
        await eventually(push.is_mirrored)
    assert len(push.records()) == 2


async def test_an_api_that_forgets_is_noticed_and_written_to_once(push: Push) -> None:
    push.api.configure("items", forgets=True)
    await push.begin(verify=True)
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'n', 'x' from generate_series(1, 5) n")
        await push.told(captured=5, sent=5, unkept=5)
        await push.stage.at("source", "delete from item where id = 5")
        await push.told(captured=6, unkept=5)
        trouble = (await push.stage.get("push")).trouble(datetime.now(UTC))
        assert trouble == "5 changes were answered well and not kept (`nms changes list push --state unkept`)"
    repository = await SyncRepository.open()
    await outbox.stamp(repository)
    events = [one.type for _, one in await outbox.read(repository, 0, ["sync.*"], 10)]
    assert events == ["sync.changes.unkept"]
    assert sum(acts["create"] for acts in push.api.counts("items").values()) == 5
    kept = await push.stage.answer("changes", "list", "push", "--state", "unkept")
    assert {one["detail"] for one in kept} == {"the remote does not have the record"}


async def test_a_resync_makes_nothing_twice(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'n', 'x' from generate_series(1, 5) n")
        await eventually(push.is_mirrored)
        push.api.delete("items", 3)
        await push.stage.nms("resync", "push", "--yes")
        await eventually(push.is_mirrored)
    assert sorted(acts["create"] for acts in push.api.counts("items").values()) == [1, 1, 1, 1, 2]


async def test_the_archive_is_read_in_pages_over_http(push: Push) -> None:
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'n' || n, null from generate_series(1, 12) n")
        await push.told(captured=12, sent=12)
    token = mint_token(push.stage.settings, ["pipelines:read"], subject="ada")
    async with client_of(create_app(push.stage.settings), token) as client:
        page = (await client.get("/pipelines/push/changes", params={"limit": 10, "state": "sent"})).json()
        rest = await client.get(
            "/pipelines/push/changes", params={"limit": 10, "state": "sent", "cursor": page["next"]}
        )
        found = [*page["items"], *rest.json()["items"]]
        assert sorted(int(one["key"]) for one in found) == list(range(1, 13))
        assert [one["id"] for one in found] == sorted((one["id"] for one in found), reverse=True)
        (named,) = (await client.get("/pipelines/push/changes", params={"q": "n12"})).json()["items"]
        assert (await client.get(f"/pipelines/push/changes/{named['id']}")).json() == named
        assert (await client.get("/pipelines/push/changes", params={"since": "2100-01-01"})).json()["items"] == []
        assert (await client.get("/pipelines/push/changes/9999999")).status_code == 404


async def test_what_is_purged_stays_counted_and_what_waits_stays(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PURGE_SIZE", 2)
    await push.begin()
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'n', null from generate_series(1, 5) n")
        await push.told(captured=5, sent=5)
        stop, repository = asyncio.Event(), await SyncRepository.open()
        purging = asyncio.create_task(purge(repository, 0.0, stop))

        async def purged() -> bool:
            return not await push.stage.answer("changes", "list", "push")

        await eventually(purged)
        stop.set()
        await purging
        await push.stage.at("source", "update item set name = 'm'")
        await push.told(captured=10, sent=10)


async def test_a_pause_in_the_middle_leaves_no_outcome_unknown(push: Push) -> None:
    # So slow that a pause on a busy machine comes before the last.
    push.api.configure("items", latency=0.3)
    await push.begin(unordered=2)
    async with push.streaming():
        await push.stage.at("source", "insert into item select n, 'n', null from generate_series(1, 60) n")

        async def some() -> bool:
            return len(push.api.records("items")) > 3

        await eventually(some)
        await push.stage.nms("pause", "push")
        await push.stage.reach("paused", name="push")

        async def rested() -> bool:
            runs = (await push.stage.nms("runs", "list")).stdout
            return "running" not in runs and "cancelling" not in runs

        await eventually(rested)
        waiting = await push.stage.answer("changes", "list", "push", "--state", "sending")
        assert waiting == []
        assert len(push.api.records("items")) < 60
        push.api.configure("items", latency=0)
        await push.stage.nms("resume", "push")
        await eventually(push.is_mirrored)
        reads = [one for one in push.api.requests() if one["method"] == "GET"]
        assert reads == []


async def test_a_pause_does_not_wait_until_the_remote_wants_to_be_asked_again(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wave, "GRACE_SECONDS", 300.0)

    async def put_off() -> bool:
        return any(one["status"] == 429 for one in push.api.requests())

    async def rested() -> bool:
        runs = (await push.stage.nms("runs", "list")).stdout
        return "running" not in runs and "cancelling" not in runs

    await push.begin()
    async with push.streaming():
        push.api.plan("429-seconds", method="POST", options={"seconds": 50})
        await push.stage.at("source", "insert into item select n, 'n', null from generate_series(1, 20) n")
        await eventually(put_off)
        await push.stage.nms("pause", "push")
        await eventually(rested, 8)
    assert push.api.records("items") == {}


async def test_json_server_ends_equal(push: Push, json_server: NodeServer) -> None:
    verbs = {"create": {"method": "POST", "path": "/albums"}, "update": {"method": "PATCH", "path": "/albums/{id}"},
             "delete": {"method": "DELETE", "path": "/albums/{id}"}}  # fmt: skip
    albums = {"path": "/albums", "record": "/albums/{id}", "writes": {**verbs, "verify": True}}
    await push.stage.at("source", 'create table album (id int primary key, "userId" int, title text)')
    await push.stage.at("source", "insert into album select n, n % 10, 't' || n from generate_series(91, 120) n")
    remote = {
        "kind": "system",
        "name": "remote",
        "type": "rest",
        "url": json_server.url,
        "resources": {"albums": albums},
    }
    dataset = {"source": "public.album", "target": "albums"}
    document = pipeline("push") | {"target": "remote", "datasets": [dataset]}
    await push.stage.apply(*push.stage.systems(source=push.stage.source), remote, document)
    async with push.streaming():
        await push.stage.at("source", "update album set title = upper(title) where id % 3 = 0")
        await push.stage.at("source", "delete from album where id % 5 = 0")

        async def alike() -> bool:
            rows = await push.stage.at("source", "select (id, title)::text from album order by id")
            kept = [(one["id"], one["title"]) for one in json_server.data["albums"] if one["id"] > 90]
            return bool(rows == [f"({number},{title})" for number, title in sorted(kept)])

        await eventually(alike)
        await push.told(unkept=0, refused=0)
