"""The pace of a REST API: what a remote asks for holds for everybody, and nobody sleeps where nobody can wake him."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from nms.common.budget import opened_budget
from nms.common.document import RestSystem
from nms.common.egress.shared import get_egress
from nms.common.settings import Settings, get_settings
from nms.connectors.rest.client import Ask, Client, Gate
from nms.connectors.rest.login import open_login
from nms.connectors.rest.problems import RemoteLimited
from tests.service.rest_systems import system_of
from tests.services.hostile.api import HostileApi
from tests.waiting import Stopwatch, eventually

THINGS = Ask("GET", "/things")
RATE = {"limit": 1000, "per": "1s"}


@asynccontextmanager
async def as_another_process(system: RestSystem) -> AsyncIterator[Client]:
    """A client that shares nothing with the others of this process."""
    async with opened_budget(get_settings()) as budget:
        yield Client(system, get_egress(), budget, Gate(system, open_login(system)))


@pytest.fixture
def api(asking: Settings, hostile_api: HostileApi) -> HostileApi:
    hostile_api.add("things", count=5)
    return hostile_api


def waiting(client: Client) -> Callable[[], Awaitable[bool]]:
    async def does() -> bool:
        return bool(client.facts()["waiting"])

    return does


@pytest.mark.parametrize("rate", [None, RATE], ids=["without a rate", "with a rate"])
async def test_what_the_remote_says_to_one_is_heeded_by_all_processes(api: HostileApi, rate: object) -> None:
    api.plan("429-seconds", times=1, options={"seconds": 1})
    system = system_of(api.url, rate=rate)
    async with Client.opened(system) as one, as_another_process(system) as other:
        asked = asyncio.create_task(one.get(THINGS))
        await eventually(waiting(one))
        await asyncio.gather(asked, *(client.get(THINGS) for client in (one, other) * 3))
    refused, *rest = api.journal.entries
    assert refused.status == 429
    assert {entry.status for entry in rest} == {200}
    assert min(entry.at for entry in rest) - refused.at >= 1.0


@pytest.mark.parametrize(
    "behaviour", ["429-date", "429-past", "429-garbage", "429-negative", "429-bare", "503-seconds"]
)
async def test_every_way_of_asking_for_a_pause_ends_in_an_answer(api: HostileApi, behaviour: str) -> None:
    api.plan(behaviour, times=1)
    async with Client.opened(system_of(api.url)) as client:
        assert (await client.send(Ask("POST", "/things", body=b"{}"))).status == 201
        assert client.facts()["limited"] == 1
    assert len(list(api.journal.of("things"))) == 1


@pytest.mark.parametrize("rate", [None, RATE], ids=["without a rate", "with a rate"])
async def test_a_wait_of_days_is_told_and_not_slept(api: HostileApi, rate: object) -> None:
    api.plan("429-ten-days", times=1)
    system = system_of(api.url, rate=rate)
    async with Client.opened(system) as one, as_another_process(system) as other:
        with pytest.raises(RemoteLimited) as told:
            await one.get(THINGS)
        assert told.value.wait == 864_000
        for client in (one, other):
            with pytest.raises(RemoteLimited) as held:
                await client.send(Ask("POST", "/things", body=b"{}"))
            assert 3_500 < held.value.wait <= 4_000, "after an hour the remote is asked whether it still means it"
    assert len(api.journal.entries) == 1


async def test_a_wait_can_be_given_up_and_is_shown(api: HostileApi) -> None:
    api.plan("429-seconds", times=1, options={"seconds": 40})
    async with Client.opened(system_of(api.url)) as client:
        asked = asyncio.create_task(client.get(THINGS))
        await eventually(waiting(client))
        assert 20 < client.facts()["waiting"] <= 44
        watch = Stopwatch()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert watch.seconds() < 1


async def test_a_quota_that_is_used_up_is_waited_for_before_anybody_is_refused(api: HostileApi) -> None:
    api.configure("things", rate=4, burst=4)
    async with Client.opened(system_of(api.url)) as client:
        for _ in range(8):
            assert (await client.get(THINGS)).status == 200
    assert api.limit("things") == {"let_in": 8, "refused": 0}


async def test_one_api_that_is_down_slows_no_other(api: HostileApi) -> None:
    api.plan("timeout-before", path="/be-down", times=None)
    down, up = system_of(f"{api.url}/be-down", timeout="20s"), system_of(api.url)
    async with Client.opened(down) as stuck, Client.opened(up) as client:
        hanging = [asyncio.create_task(stuck.get(THINGS)) for _ in range(30)]
        watch = Stopwatch()
        await asyncio.gather(*(client.get(THINGS) for _ in range(50)))
        assert watch.seconds() < 5
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
