"""Webhooks that go to an API: each record as its events say, once in effect, whoever is killed on the way."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.connectors.rest import sending
from tests.conftest import MakeDatabase
from tests.fuzz.extent import Extent
from tests.service.inbox import SECRET, SHOP, receiving
from tests.service.remote_writes import SLOW, TIMEOUTS, Push, doubles, work_until_killed
from tests.service.test_inbox_pipeline import inbox, post
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

FIELDS = {"id": "reference", "name": "name", "note": "note"}
RECORDS = {"endpoint": "shop", "records": "item", "deleted": "gone"}
KEYED: dict[str, Any] = {"lookup": None, "idempotency": "Idempotency-Key"}
KILLED = {
    "by idempotency key": ("rest.before_settle", KEYED, {"idempotency": True}),
    "by the ledger": ("outlet.before_save", KEYED, {}),
}
PLACES = ("rest.before_send", "rest.after_send", "rest.before_settle", "outlet.before_save")


@pytest.fixture
async def push(
    outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> Push:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    monkeypatch.setenv("SYNC_LEASE", "1")
    # Effects of this API come before the time-out, or never.
    monkeypatch.setattr(sending, "LATE_SECONDS", 0.5)
    made = await Push.set(outbound, await make_database(), hostile_api)
    await made.stage.apply(SHOP)
    return made


@pytest.fixture
async def client(outbound: Settings, push: Push) -> AsyncIterator[httpx2.AsyncClient]:
    async with receiving(outbound) as made:
        yield made


async def begin(push: Push, records: dict[str, Any] | None = None, *, key: bool = False, **parts: Any) -> None:
    """Apply the documents of a pipeline from the endpoint to the API; `system` and writes among `parts` go there."""
    dataset = {"source": "items", "target": "items", "fields": FIELDS} | ({"key": ["id"]} if key else {})
    system, of_pipeline = parts.pop("system", None), parts.pop("parts", {})
    await push.stage.apply(inbox(items=RECORDS | (records or {})))
    source = {"source": "hooks", "capture": "feed", "datasets": [dataset], **of_pipeline}
    await push.begin(system=system, parts=source, **parts)


async def has(push: Push, *records: tuple[str, str, str | None]) -> None:
    """Wait until the API has these records."""

    async def look() -> bool:
        return push.records() == list(records)

    try:
        await eventually(look)
    except AssertionError as late:
        raise AssertionError(push.records()) from late


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"item": {"id": number, **more}}


async def test_records_of_events_are_made_changed_and_deleted_at_the_api(
    push: Push, client: httpx2.AsyncClient
) -> None:
    await begin(push)
    async with push.streaming():
        await post(client, item(1, name="a", note="x"), item(2, name="b"), item(3, name="c"))
        await has(push, ("1", "a", "x"), ("2", "b", None), ("3", "c", None))
        # What an event lacks stays; what comes back after its deletion has what its event has.
        await post(client, item(1, name="A"), item(3, gone=True), item(2, note="y"), {"other": 5})
        await has(push, ("1", "A", "x"), ("2", "b", "y"))
        await post(client, item(2, gone=True), item(2, name="B"), *(item(1, name=f"n{n}") for n in range(9)))
        await has(push, ("1", "n8", "x"), ("2", "B", None))
        requests = len(push.api.requests())
        await post(client, item(2, name="B"))
        await push.told(captured=18)
        assert all(one["method"] == "GET" for one in push.api.requests()[requests:])
        assert "with a record" in (await push.stage.nms("pipelines", "push")).stdout
        assert (await push.stage.nms("doctor", "push")).exit_code == 0
    assert {one["key"] for one in await push.stage.answer("changes", "list", "push")} == {"1", "2", "3"}


@pytest.mark.parametrize("way", KILLED)
async def test_a_killed_worker_doubles_nothing_and_loses_nothing(
    push: Push, client: httpx2.AsyncClient, way: str, extent: Extent
) -> None:
    place, writes, options = KILLED[way]
    push.api.configure("items", **options)
    await begin(push, key=True, system=SLOW, **writes)
    async with push.streaming():
        await post(client, item(1, name="a"))
        await has(push, ("1", "a", None))
    last = 0
    for fault in (place, *(PLACES * extent.choose(0, 2) if options else ())):
        first, last = last + 1, last + 30
        await post(client, *(item(number, name=f"n{number}") for number in range(first, last)))
        assert await work_until_killed(f"{fault}=kill@1") == -signal.SIGKILL
        await post(client, *(item(number, name="end") for number in range(first + 20, last)), item(last - 1, gone=True))
    wanted = [
        (str(n), "end" if (n - 1) % 30 >= 20 else f"n{n}", None) for n in range(1, last - 1) if n % 30 not in (29, 0)
    ]
    async with push.streaming():
        await has(push, *wanted)
        await push.told(waiting=0, refused=0)
    assert not doubles(push.api)


async def test_time_outs_double_nothing_where_the_api_honours_a_key(push: Push, client: httpx2.AsyncClient) -> None:
    push.api.configure("items", idempotency=True)
    await begin(push, key=True, system=SLOW, **KEYED)
    push.api.plan(*TIMEOUTS, method="write", chance=0.3)
    async with push.streaming():
        await asyncio.gather(*(post(client, item(number, name="a")) for number in range(1, 21)))
        await post(client, *(item(number, name=f"b{number}") for number in range(1, 21)))
        await has(push, *((str(number), f"b{number}", None) for number in range(1, 21)))
        assert {one["behaviour"] for one in push.api.requests()} & set(TIMEOUTS)
    assert not doubles(push.api)


async def test_what_the_api_refuses_is_held_with_what_follows_and_replayed_in_order(
    push: Push, client: httpx2.AsyncClient
) -> None:
    await begin(push)
    async with push.streaming():
        push.api.plan("422", method="POST", times=1)
        await post(client, item(1, name="a", note="x"))
        await eventually(lambda: push.holds(1))
        (unread,) = await post(client, b"no json")
        await post(client, item(1, name="b"), item(2, name="c"), item(1, note="y"))
        await has(push, ("2", "c", None))
        await eventually(lambda: push.holds(4))
        held = await push.stage.answer("quarantine", "list", "push")
        assert sorted({one["key"] for one in held}) == sorted(["1", unread])
        await push.stage.nms("quarantine", "replay", "push", "--key", "1")
        await has(push, ("1", "b", "y"), ("2", "c", None))
    assert not doubles(push.api)


async def test_a_replay_and_a_resync_set_records_back_that_somebody_changed_at_the_api(
    push: Push, client: httpx2.AsyncClient, outbound: Settings
) -> None:
    await begin(push)
    async with push.streaming():
        await post(client, item(1, name="a"), item(2, name="b"))
        await has(push, ("1", "a", None), ("2", "b", None))
        for number in push.api.records("items"):
            push.api.write("items", {"name": "damaged"}, number)
        headers = {"Authorization": f"Bearer {mint_token(outbound, ['events:write'], subject='ada')}"}
        order = {"endpoint": "shop", "path": "item.id == `1`"}
        assert (await client.post("/replays", json=order, headers=headers)).status_code == 202
        await has(push, ("1", "a", None), ("2", "damaged", None))
        await push.stage.nms("resync", "push", "--yes")
        await has(push, ("1", "a", None), ("2", "b", None))
    assert not doubles(push.api)
