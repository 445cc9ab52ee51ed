"""Time-outs before and after the effect, killed workers: no record is made twice, no update is lost (DESIGN 4.1).

Short here; `make faults-rest` looks longer.
"""

import asyncio
import signal
from collections import Counter
from typing import Any

import pytest

from nms.common.settings import Settings
from nms.connectors.rest import sending
from nms.connectors.rest.look import Looker
from tests.conftest import MakeDatabase
from tests.fuzz.extent import Extent
from tests.service.remote_writes import SLOW, TIMEOUTS, Push, doubles, edit, start_worker, work_until_killed
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # What the document says, and what the API does.
    "looked up": ({"unordered": 32}, {}),
    "by idempotency key": (
        {"unordered": 32, "lookup": None, "idempotency": "Idempotency-Key"},
        {"idempotency": True},
    ),
    "with an ETag": ({"unordered": 32, "precondition": "etag"}, {"etag": "strong", "require_match": True}),
}
PLACES = ("rest.before_send", "rest.after_send@9", "rest.before_settle", "outlet.before_save", "rest.after_send@2")


@pytest.fixture
async def push(
    outbound: Settings, make_database: MakeDatabase, hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> Push:
    # Effects of this API come before the time-out, or never.
    monkeypatch.setattr(sending, "LATE_SECONDS", 0.5)
    return await Push.set(outbound, await make_database(), hostile_api)


async def settled(push: Push, changes: int) -> None:
    """Wait until both ends are alike and every change is accounted for; fails for what was done twice."""
    await eventually(push.is_mirrored, 90)

    async def accounted() -> bool:
        counts = await push.counts()
        return counts["sent"] + counts["saved"] == counts["captured"] == changes

    try:
        await eventually(accounted)
    except AssertionError as late:
        raise AssertionError(f"{await push.counts()}, and {changes} changes were made") from late
    assert not doubles(push.api)


@pytest.mark.parametrize("way", WAYS)
async def test_time_outs_double_nothing_and_lose_nothing(push: Push, way: str, extent: Extent) -> None:
    writes, options = WAYS[way]
    push.api.configure("items", **options)
    await push.begin(system=SLOW, **writes)
    async with push.streaming():
        push.api.plan(*TIMEOUTS, method="write", chance=0.3)
        count, changes, behaviours = extent.choose(40, 500), 0, Counter[str]()
        # Where many changes became one request there were few, and by chance fewer time-outs.
        for turn in range(5):
            changes += await edit(push, count, turn * count)
            await settled(push, changes)
            behaviours = Counter(one["behaviour"] for one in push.api.requests())
            if all(behaviours[name] > 3 for name in TIMEOUTS):
                return
    raise AssertionError(behaviours)


@pytest.mark.parametrize("way", ["looked up", "by idempotency key"])
async def test_a_killed_worker_doubles_nothing_and_loses_nothing(
    push: Push, way: str, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_LEASE", "1")
    writes, options = WAYS[way]
    push.api.configure("items", **options)
    await push.begin(system=SLOW, **writes)
    async with push.streaming():
        pass
    push.api.plan(*TIMEOUTS, method="write", chance=0.3)
    changes = 0
    for number, place in enumerate(PLACES * extent.choose(0, 2) or ("rest.after_send@7",)):
        faults = place.replace("@", "=kill@") if "@" in place else f"{place}=kill"
        editing = asyncio.create_task(edit(push, 40, number * 40))
        assert await work_until_killed(faults) == -signal.SIGKILL
        changes += await editing
    async with push.streaming():
        await settled(push, changes)


async def test_a_worker_that_stood_still_sends_nothing_that_another_one_sent(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_LEASE", "1")
    await push.begin()
    async with push.streaming():
        pass
    await push.stage.at("source", "insert into item select n, 'n', 'x' from generate_series(1, 20) n")
    standing = await start_worker("rest.before_send=stop@1")

    async def begun() -> bool:
        return len(await push.stage.answer("changes", "list", "push", "--state", "sending")) == 20

    try:
        await eventually(begun)
        async with push.streaming():
            await eventually(push.is_mirrored)
            standing.send_signal(signal.SIGCONT)
            standing.terminate()
            await asyncio.wait_for(standing.wait(), 90)
    finally:
        if standing.returncode is None:
            standing.kill()
            await standing.wait()
    assert not doubles(push.api)


async def test_what_was_answered_well_is_not_made_again_because_a_look_behind_it_failed(push: Push) -> None:
    async def failed() -> bool:
        return (await push.stage.get("push")).problem is not None

    await push.begin(verify=True)
    async with push.streaming():
        push.api.plan("500", method="GET")
        await push.stage.at("source", "insert into item values (1, 'a', null)")
        await eventually(failed)
        push.api.unplan()
        await push.stage.nms("resume", "push")
        await push.told(captured=1, sent=1)
        assert await push.is_mirrored()
    assert not doubles(push.api)


async def test_the_checker_sees_what_is_made_twice_where_nothing_is_looked_up(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    await push.begin(system=SLOW, unordered=32)
    monkeypatch.setattr(Looker, "find", nothing)
    async with push.streaming():
        push.api.plan("timeout-after", method="POST", chance=0.3)
        await push.stage.at("source", "insert into item select n, 'n', 'x' from generate_series(1, 40) n")

        async def doubled() -> bool:
            return bool(doubles(push.api))

        await eventually(doubled)
