"""A table that is polled and pushed to an API: every state of a row once in effect, whatever the API answers."""

import asyncio
import signal
from typing import Any

import asyncpg
import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.settings import Settings
from nms.connectors.rest import sending
from nms.sync.pipeline import adopt
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase
from tests.service.remote_writes import FIELDS, SLOW, TIMEOUTS, Push, doubles, edit, work_until_killed
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

POLL = {"capture": "poll", "every": "100ms"}
NOTED = {**POLL, "change_log": True}

TRIGGERS = "select count(*) from pg_trigger where tgname like 'nms\\_%'"


@pytest.fixture
async def push(
    outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> Push:
    # Effects of this API come before the time-out, or never.
    monkeypatch.setattr(sending, "LATE_SECONDS", 0.5)
    return await Push.set(outbound, await make_database(), hostile_api)


async def begin(push: Push, parts: dict[str, Any], **writes: Any) -> None:
    await push.begin(parts=parts, system=SLOW, unordered=32, **writes)
    assert (await push.stage.nms("doctor", "push", "--prepare")).exit_code == 0


async def settled(push: Push) -> None:
    """Wait until both ends are alike and every change is accounted for; fails for what was done twice."""
    await eventually(push.is_mirrored, 90)
    await push.told(waiting=0, refused=0, unkept=0)
    assert not doubles(push.api)


async def test_what_a_poll_finds_reaches_the_api(push: Push) -> None:
    await push.stage.at("source", "insert into item select n, 'n' || n, 'old' from generate_series(1, 30) n")
    await begin(push, NOTED)
    async with push.streaming():
        await eventually(push.is_mirrored)
        for sql in (
            "insert into item values (101, 'new', null), (102, 'new', 'x')",
            "update item set name = upper(name) where id <= 10",
            "delete from item where id between 11 and 15",
            "update item set id = id + 1000 where id between 21 and 25",
        ):
            await push.stage.at("source", sql)
        await settled(push)
        # A row that comes back to what it was is another change, and one that is only written again is none.
        await push.stage.at("source", "update item set note = 'there' where id = 1")
        await eventually(push.is_mirrored)
        await push.stage.at("source", "update item set note = 'old' where id = 1")
        await settled(push)
        before, sent = await push.counts(), len(push.api.requests())
        await push.stage.at("source", "update item set name = name")
        await push.told(saved=before["saved"] + 27)
        assert len(push.api.requests()) == sent
        assert {one["op"] for one in await push.stage.answer("changes", "list", "push", "--key", "1")} == {
            "insert",
            "update",
        }


async def test_time_outs_double_nothing_and_lose_nothing_that_is_polled(push: Push) -> None:
    await begin(push, NOTED)
    async with push.streaming():
        push.api.plan(*TIMEOUTS, method="write", chance=0.3)
        await edit(push, 20)
        await settled(push)


async def test_a_killed_worker_doubles_nothing_and_loses_nothing_that_is_polled(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_LEASE", "1")
    await push.stage.at("source", "insert into item select n, 'n', 'old' from generate_series(1000, 1005) n")
    await begin(push, NOTED)
    push.api.plan(*TIMEOUTS, method="write", chance=0.3)
    editing = asyncio.create_task(edit(push, 12))
    assert await work_until_killed("rest.after_send=kill@5") == -signal.SIGKILL
    await editing
    async with push.streaming():
        await settled(push)


async def test_rows_that_are_read_again_cost_nothing_and_are_held_once(push: Push) -> None:
    # As long as it runs, what is written after it began is read in every round.
    long = await asyncpg.connect(push.stage.source)
    await long.execute("begin; select pg_current_xact_id()")
    await push.stage.at("source", "insert into item select n, 'n', 'x' from generate_series(1, 5) n")
    push.api.plan("422", method="POST", times=1)
    await begin(push, POLL)
    async with push.streaming():
        await eventually(lambda: push.holds(1))
        await push.told(captured=5, sent=4, refused=1)
        sent = len(push.api.requests())
        await passed(push, rounds=3)
        await push.told(captured=5, sent=4, refused=1)
        assert len(push.api.requests()) == sent
        assert await push.holds(1)
        (key,) = {one["key"] for one in await push.stage.answer("quarantine", "list", "push")}
        await push.stage.nms("quarantine", "replay", "push", "--key", key)
        await eventually(push.is_mirrored)
        await passed(push, rounds=2)
        await long.close()
    assert not doubles(push.api)


async def test_a_row_that_never_was_within_the_filter_deletes_nothing(push: Push) -> None:
    dataset = {"source": "public.item", "target": "items", "fields": FIELDS, "where": {"note": "x"}}
    push.api.write("items", {"reference": 7, "name": "theirs", "note": None})
    await begin(push, {**POLL, "datasets": [dataset]})
    async with push.streaming():
        await push.stage.at("source", "insert into item values (1, 'a', 'x'), (2, 'a', 'x'), (7, 'ours', 'y')")
        await eventually(lambda: has(push, "1", "2", "7"))
        await push.stage.at("source", "update item set note = 'y'; update item set note = 'x' where id = 1")
        await eventually(lambda: has(push, "1", "7"))
        await push.told(refused=0, waiting=0)


async def has(push: Push, *references: str) -> bool:
    """Whether the API has just these records."""
    return [one[0] for one in push.records()] == list(references)


async def test_the_same_table_goes_by_poll_and_by_the_log_and_anew(push: Push) -> None:
    await push.stage.at("source", "insert into item values (1, 'a', 'x'), (2, 'a', 'x')")
    await begin(push, NOTED)
    async with push.streaming():
        await eventually(push.is_mirrored)
        for name, parts in (("b", {}), ("a", POLL), ("b", {}), ("a", NOTED)):
            await push.stage.nms("pause", "push")
            await push.stage.reach("paused", name="push")
            await push.stage.at("source", f"update item set name = '{name}' where id = 1")
            await begin(push, parts)
            await push.stage.nms("resume", "push")
            await eventually(push.is_mirrored)
        push.api.delete("items", 2)
        await push.stage.nms("resync", "push", "--yes")
        await eventually(push.is_mirrored)
    assert await push.stage.at(
        "source", "select count(*) from pg_replication_slots where database = current_database()"
    ) == [0]
    assert sorted(acts["create"] for acts in push.api.counts("items").values()) == [1, 2]


async def test_a_round_that_is_asked_for_ends_when_the_api_has_all(push: Push) -> None:
    await begin(push, {"capture": "poll", "on_demand": True, "change_log": True})
    async with push.stage.working():
        await push.stage.at("source", "insert into item values (1, 'a', 'x')")
        assert (await push.stage.nms("pipelines", "run", "push")).exit_code == 0
        assert await push.is_mirrored()
        assert (await push.stage.nms("pipelines", "run", "push")).exit_code == 0
        drafts = [Draft(each) for each in push.stage.systems(source=push.stage.source)]
        await apply_changeset(await DocumentRepository.open(), Changeset(drafts, author="test", prune=True))
        await adopt(await SyncRepository.open())

        async def gone() -> bool:
            return bool(await push.stage.at("source", TRIGGERS) == [0])

        await eventually(gone)


async def passed(push: Push, *, rounds: int) -> None:
    """Wait until so many rounds more have been read."""

    async def number() -> int:
        return int((await push.stage.get("push")).status["round"]["number"])

    first = await number()

    async def look() -> bool:
        return await number() >= first + rounds

    await eventually(look)
