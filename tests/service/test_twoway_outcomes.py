"""What became of writes of two-way pipelines: known again without an answer, looked for, accounted for."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.connectors.postgres.twoway.opening import PREPARE
from tests.conftest import MakeDatabase
from tests.service.rest_stage import api, begin, make_stage, things
from tests.service.stage import Stage
from tests.service.storm import alike, rounds
from tests.service.test_kafka_pipelines import worker_process
from tests.service.test_twoway import WRITES, both
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually


@pytest.fixture
async def stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch, hostile_api: HostileApi
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("SYNC_LEASE", "1")
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    hostile_api.add("things", count=3, upsert=True, etag="strong", idempotency=True)
    stage = await make_stage(get_settings(), await make_database())
    await stage.at("target", PREPARE)
    yield stage
    await close_egress()


async def start(stage: Stage, remote: HostileApi, policy: str = "source", **parts: Any) -> None:
    resources = {"things": things(writes={**WRITES, "idempotency": "Idempotency-Key"})}
    document = both(every="300ms", conflicts={"policy": policy}, **parts)
    await begin(stage, api(remote.url, resources, timeout="1s"), document)


async def settled(stage: Stage) -> None:
    """Wait until changes come by the log: what is found by looking is told of again by the log."""
    await rounds(stage, 2)


async def has(remote: HostileApi, number: int, name: str) -> None:
    """Wait until a record of the remote has a name."""

    async def look() -> bool:
        return bool(remote.records("things").get(number, {}).get("name") == name)

    await eventually(look)


async def told(stage: Stage, **counts: int) -> dict[str, int]:
    """Wait until the pipeline tells these numbers of changes."""

    async def look() -> dict[str, int] | None:
        found: dict[str, int] = (await stage.get()).status.get("changes", {})
        return found if counts.items() <= found.items() else None

    try:
        return await eventually(look)
    except AssertionError as late:
        raise AssertionError(f"{(await stage.get()).status.get('changes')}") from late


async def test_an_edit_behind_a_write_that_timed_out_is_kept_and_no_conflict(
    stage: Stage, hostile_api: HostileApi
) -> None:
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        hostile_api.plan("timeout-after", path="/things/1$", method="PATCH", times=1)
        await stage.at("target", "update public.things set name = 'first' where id = 1")
        await has(hostile_api, 1, "first")
        # The answer does not come, and nobody else touched the remote.
        await stage.at("target", "update public.things set name = 'second' where id = 1")
        await has(hostile_api, 1, "second")
        await alike(stage, hostile_api)
        assert await stage.answer("conflicts", "list", "items") == []
        await told(stage, captured=2, refused=0, waiting=0)


async def test_one_404_deletes_nothing_on_either_side(stage: Stage, hostile_api: HostileApi) -> None:
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        hostile_api.plan("404", path="/things/1$", method="GET", times=1)
        await stage.at("target", "update public.things set name = 'edited' where id = 1")
        await has(hostile_api, 1, "edited")
        await alike(stage, hostile_api)
        assert hostile_api.counts("things").get("1", {}).get("create") is None
        assert await stage.answer("conflicts", "list", "items") == []


@pytest.mark.parametrize("edits", ["update public.things set name = 'edited' where id in (1, 2)", "select 1"])
async def test_a_column_that_gets_another_type_below_a_held_record_is_taken_up(
    stage: Stage, hostile_api: HostileApi, edits: str
) -> None:
    await start(stage, hostile_api, "merge")
    async with stage.working():
        await settled(stage)
        hostile_api.write("things", {"group": "many"}, 1)

        async def held() -> bool:
            return len(await stage.answer("quarantine", "list", "items")) == 1

        await eventually(held)
        await stage.at("target", 'alter table public.things alter column "group" type text')
        await stage.at("target", edits)
        await stage.nms("quarantine", "replay", "items", "--key", "1")
        await stage.arrive('select "group" from public.things where id = 1', ["many"])
        await stage.at("target", "update public.things set name = 'last' where id in (1, 2)")
        await has(hostile_api, 1, "last")
        await has(hostile_api, 2, "last")


async def test_what_one_round_does_not_find_is_neither_deleted_nor_made_again(
    stage: Stage, hostile_api: HostileApi
) -> None:
    document = both(every=None, on_demand=True, conflicts={"policy": "source"})
    await begin(stage, api(hostile_api.url, {"things": things(writes=WRITES)}), document)
    async with stage.working():
        await stage.nms("pipelines", "run", "items")
        await alike(stage, hostile_api)
        hostile_api.plan("404", path="/things/1$")
        hostile_api.delete("things", 2)
        await stage.at("target", "update public.things set name = 'edited' where id < 3")

        async def doubted() -> bool:
            return bool((await stage.get()).status["back"]["doubtful"] == 2)

        await eventually(doubted)
        assert await stage.at("target", "select name from public.things where id < 3") == ["edited", "edited"]
        hostile_api.unplan()
        await stage.nms("pipelines", "run", "items")
        await alike(stage, hostile_api)
        assert hostile_api.records("things")[1]["name"] == "edited"
        assert 2 not in hostile_api.records("things")
        await told(stage, captured=2, sent=1, saved=1, waiting=0)


async def test_what_is_gone_is_told_and_found_out_although_the_oldest_are_gone_too(
    stage: Stage, hostile_api: HostileApi
) -> None:
    for _ in range(5):
        hostile_api.resources["things"].collection.create({"name": "more"})
    await start(stage, hostile_api, "merge")

    async def unseen() -> bool:
        return ((await stage.get()).problem or {}).get("code") == "records-unseen"

    async def well() -> bool:
        return (await stage.get()).problem is None

    async with stage.working():
        await settled(stage)
        hostile_api.plan("404", path=r"/things/\d+$", method="GET")
        await stage.at("target", "update public.things set name = 'ours' where id = 4")
        await eventually(unseen)
        for number in range(1, 5):
            hostile_api.delete("things", number)
        hostile_api.unplan()
        await has(hostile_api, 4, "ours")
        await eventually(well)
        assert await stage.at("target", "select name from public.things where id = 4") == ["ours"]


async def test_404s_to_all_records_at_once_are_not_believed(stage: Stage, hostile_api: HostileApi) -> None:
    await start(stage, hostile_api)

    async def unseen() -> bool:
        return ((await stage.get()).problem or {}).get("code") == "records-unseen"

    async with stage.working():
        await settled(stage)
        hostile_api.plan("404", path=r"/things/\d+$", method="GET")
        await stage.at("target", "update public.things set name = 'ours'")
        await eventually(unseen)
        hostile_api.unplan()
        await alike(stage, hostile_api)
        assert [one["name"] for one in hostile_api.records("things").values()] == ["ours"] * 3


async def test_a_worker_that_stood_still_sends_nothing_that_another_one_sent(
    stage: Stage, hostile_api: HostileApi, tmp_path: Path
) -> None:
    resources = {"things": things(writes={**WRITES, "precondition": "none"})}
    await begin(stage, api(hostile_api.url, resources), both(every="300ms"))
    async with stage.working():
        await settled(stage)
    async with worker_process(tmp_path / "log", "twoway.before_send=stop@1") as standing:
        await stage.at("target", "update public.things set name = 'ours' where id = 1")
        await asyncio.to_thread(os.waitid, os.P_PID, standing.pid, os.WSTOPPED | os.WNOWAIT)
        async with stage.working():
            await has(hostile_api, 1, "ours")
            hostile_api.write("things", {"name": "theirs"}, 1)
            await alike(stage, hostile_api)
            standing.send_signal(signal.SIGCONT)

            async def lost() -> bool:
                return "the lease is lost" in (tmp_path / "log").read_text()

            await eventually(lost)
    assert hostile_api.records("things")[1]["name"] == "theirs"


async def test_a_web_page_that_says_200_is_no_answer_to_a_write(stage: Stage, hostile_api: HostileApi) -> None:
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        hostile_api.plan("portal", path="/things/1$", method="PATCH", times=1)
        await stage.at("target", "update public.things set name = 'edited' where id = 1")
        await has(hostile_api, 1, "edited")
        assert await stage.answer("conflicts", "list", "items") == []


async def test_a_form_that_the_table_refuses_holds_its_record_alone(stage: Stage, hostile_api: HostileApi) -> None:
    await stage.at("target", "alter table public.things add check (name not like 'abc%')")
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        hostile_api.configure("things", rewrite=["lower"])
        hostile_api.plan("duplicate-keys", path="/things/3$", method="GET")
        await stage.at("target", "update public.things set name = 'ABC' where id = 1")
        await stage.at("target", "update public.things set name = 'unread' where id = 3")
        await has(hostile_api, 1, "abc")
        await stage.at("target", "update public.things set name = 'other' where id = 2")
        await has(hostile_api, 2, "other")

        async def held() -> bool:
            rows = {one["key"]: one["problem"]["code"] for one in await stage.answer("quarantine", "list", "items")}
            return "1" in rows and rows.get("3") == "record-unreadable"

        await eventually(held)
        assert (await stage.get()).phase == "streaming"


async def test_what_was_sent_and_what_was_saved_add_up_and_can_be_searched(
    stage: Stage, hostile_api: HostileApi
) -> None:
    await start(stage, hostile_api, "merge")
    async with stage.working():
        await settled(stage)
        edits = "update public.things set name = 'a' where id = 1; update public.things set name = 'b' where id = 1"
        await stage.at("target", f"begin; {edits}; commit")
        await told(stage, captured=2, sent=1, saved=1)
        for name in ("one", "one"):
            # The second one is another record to a remote that honours keys.
            await stage.at("target", f"insert into public.things values (50, 'r', '{name}', 1)")
            await has(hostile_api, 50, name)
            await stage.at("target", "delete from public.things where id = 50")
            await alike(stage, hostile_api)
        await told(stage, captured=6, sent=5, saved=1, waiting=0, refused=0)
        (folded, kept) = sorted(await listed(stage, "--key", "1"), key=lambda one: str(one["state"] == "sent"))
        assert (folded["state"], folded["folded_into"]) == ("saved", kept["identity"])
        assert (kept["op"], kept["method"], kept["path"], kept["status"]) == ("update", "PATCH", "/things/1", 200)
        assert '"name":"b"' in kept["body"]
        assert [one["op"] for one in await listed(stage, "--key", "50")] == ["delete", "insert", "delete", "insert"]
        assert len(await listed(stage, "--q", '"one"')) == 2


async def test_a_table_that_is_emptied_at_once_halts_and_comes_back(stage: Stage, hostile_api: HostileApi) -> None:
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        await stage.at("target", "truncate public.things")
        assert (await stage.reach("halted")).problem["code"] == "table-emptied"  # type: ignore[index]
        assert len(hostile_api.records("things")) == 3
        told = await stage.nms("resync", "items", "--yes")
        assert told.exit_code == 0, told.stderr
        await stage.arrive("select count(*) from public.things", [3])
        await stage.reach("streaming")
        assert len(hostile_api.records("things")) == 3


async def test_another_place_halts_until_somebody_says_that_it_is_meant(stage: Stage, hostile_api: HostileApi) -> None:
    async def at(url: str) -> None:
        await begin(stage, api(url, {"things": things(writes=WRITES)}), both(every="300ms"))

    await at(hostile_api.url)
    async with stage.working():
        await alike(stage, hostile_api)
        await settled(stage)
        await at(hostile_api.url.replace("127.0.0.1", "localhost"))
        problem = (await stage.reach("halted")).problem or {}
        assert (problem["code"], problem["dataset"]) == ("place-changed", "things")
        hostile_api.add("things", count=2, upsert=True, etag="strong")
        hostile_api.write("things", {"name": "theirs"}, 1)
        await stage.at("target", "delete from public.things where id = 2")
        assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
        await alike(stage, hostile_api)
        assert sorted(hostile_api.records("things")) == [1, 2, 3]
        assert hostile_api.records("things")[1]["name"] == "theirs"


@pytest.mark.parametrize("back", ["log", "poll"])
async def test_most_rows_gone_at_once_halt_until_somebody_says_what_is_meant(
    stage: Stage, hostile_api: HostileApi, back: str
) -> None:
    for _ in range(27):
        hostile_api.resources["things"].collection.create({"name": "more"})
    await start(stage, hostile_api, back=back)
    async with stage.working():
        await settled(stage)
        await stage.at("target", "delete from public.things where id > 19")
        await alike(stage, hostile_api)
        await stage.at("target", "delete from public.things where id > 9")
        await alike(stage, hostile_api)
        hostile_api.resources["things"].collection.create({"name": "another"})
        await alike(stage, hostile_api)
        await stage.at("target", "insert into public.things (id) select generate_series(50, 54)")
        await alike(stage, hostile_api)
        await stage.at("target", "delete from public.things where id < 52")
        problem = (await stage.reach("halted")).problem or {}
        assert (problem["code"], problem["missing"], problem["known"]) == ("deletes-suspicious", 12, 15)
        assert len(hostile_api.records("things")) == 15
        if back == "log":
            assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
            await stage.arrive("select count(*) from public.things", [15])
        else:
            await start(stage, hostile_api, back=back, deletes="all")
        await alike(stage, hostile_api)


@pytest.mark.parametrize("policy", ["merge", "target"])
async def test_what_the_remotes_record_lacks_is_told_to_it(stage: Stage, hostile_api: HostileApi, policy: str) -> None:
    await stage.at("target", "insert into public.things values (4, 'x', 'made here', 9)")
    hostile_api.resources["things"].collection.create({"name": "made there"})
    await start(stage, hostile_api, policy)
    async with stage.working():
        await alike(stage, hostile_api)
    assert hostile_api.records("things")[4]["group"] == 9


@pytest.mark.parametrize("parts", [{}, {"direction": "one-way", "conflicts": None}], ids=["two-way", "pull"])
async def test_what_the_remote_leaves_out_is_null_where_the_document_says_so(
    stage: Stage, hostile_api: HostileApi, parts: dict[str, Any]
) -> None:
    document = both(every="300ms", **parts)
    resources = {"things": things(writes=WRITES, absent="null")}
    await begin(stage, api(hostile_api.url, resources), document)
    async with stage.working():
        await alike(stage, hostile_api)
        hostile_api.resources["things"].collection.replace(1, {"reference": "seed-1", "name": "one"})
        hostile_api.resources["things"].collection.replace(2, {"name": "two"})
        await alike(stage, hostile_api)
        if not parts:
            await stage.at("target", "update public.things set name = 'ours' where id = 1")
            await has(hostile_api, 1, "ours")
            await stage.at("target", 'update public.things set "group" = 7 where id = 1')
            await alike(stage, hostile_api)
            assert hostile_api.records("things")[1]["group"] == 7
            assert await stage.answer("conflicts", "list", "items") == []


async def test_a_null_that_the_remote_leaves_out_of_its_answers_is_kept(stage: Stage, hostile_api: HostileApi) -> None:
    hostile_api.configure("things", sparse=True)
    await start(stage, hostile_api)
    async with stage.working():
        await settled(stage)
        await stage.at("target", 'update public.things set "group" = null where id = 1')
        await told(stage, captured=1, sent=1, unkept=0)
        await stage.at("target", "update public.things set name = 'again' where id = 1")
        await has(hostile_api, 1, "again")
        await alike(stage, hostile_api)


async def listed(stage: Stage, *words: object) -> list[dict[str, Any]]:
    """What the archive has, the newest first."""
    found: list[dict[str, Any]] = await stage.answer("changes", "list", "items", *words)
    return found
