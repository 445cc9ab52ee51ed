"""Clients of one API in many processes stay within its limit and use it, as the API itself counts them."""

import pytest

from nms.common.settings import Settings
from tests.service.rest_systems import run_workers, system_of
from tests.services.hostile_api import HostileServer

LIMIT, SECONDS, PROCESSES = 100, 2.0, 4


async def measure(server: HostileServer, seconds: float, processes: int, *, shared: bool) -> tuple[float, float]:
    """The share of answers that are 429, and how much of the budget was used."""
    server.call("clear")
    server.call("add", name="things", count=1, rate=LIMIT, burst=10)
    rate = {"limit": LIMIT, "per": "1s"} if shared else {"limit": LIMIT * 100, "per": "1s"}
    told = await run_workers(system_of(server.url, rate=rate), processes=processes, seconds=seconds + 0.5, tasks=2)
    assert all(one.isdigit() for one in told), told
    entries = [entry for entry in server.call("requests") if entry["target"].startswith("/things")]
    # The first request of each process came before all began.
    began = entries[processes]["at"]
    served = [entry for entry in entries if entry["status"] == 200 and began <= entry["at"] < began + seconds]
    refused = [entry for entry in entries if entry["status"] == 429]
    return len(refused) / len(entries), len(served) / (LIMIT * seconds)


async def test_eight_workers_in_four_processes_use_the_limit_of_an_api_and_keep_it(
    settings: Settings, hostile_server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    # Turns that nobody took while the whole machine stood still are lost: then it is seen again, four times at most.
    seen: list[tuple[float, float]] = []
    while not seen or (seen[-1][0] > 0.01 or seen[-1][1] < 0.95):
        assert len(seen) < 5, f"refused, and used of the budget: {seen}"
        seen.append(await measure(hostile_server, SECONDS, PROCESSES, shared=True))


async def test_workers_with_a_rate_that_is_too_high_are_seen(
    settings: Settings, hostile_server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    # A machine that stands still asks too seldom to be refused.
    for _ in range(6):
        refused, _ = await measure(hostile_server, 0.5, 2, shared=False)
        if refused > 0.01:
            return
    raise AssertionError("nobody was refused although each process took the whole limit a hundred times")
