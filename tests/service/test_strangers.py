"""What strangers send does not fill the audit, from which nothing can ever be deleted, and nothing of it is silent."""

import asyncio
from typing import Any

import httpx2
import pytest

from nms.auth import throttle
from nms.auth.throttle import NETWORK
from tests.service.signing import PASSWORD, House
from tests.service.throttled import stretch, turn

CLAIM = {"token": "x", "email": "x@example.org", "password": PASSWORD}


@pytest.fixture(autouse=True)
def no_lot_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "draw_lot", lambda: 1.0)
    stretch(monkeypatch)


async def held(house: House, action: str) -> list[int]:
    """How many attempts the entries of a held network tell of, sorted: parallel ones are written in any order."""
    facts: list[Any] = [row["facts"] for row in await house.audited(action)]
    return sorted(each["attempts"] for each in facts if each.get("reason") == "network")


async def claim(house: House, times: int) -> set[int]:
    """Statuses of so many tries with a token that is not good, sixteen at a time."""
    found: set[int] = set()
    for begin in range(0, times, 16):
        some = range(begin, min(begin + 16, times))
        found |= {each.status_code for each in await asyncio.gather(*(post_claim(house) for _ in some))}
    return found


async def post_claim(house: House) -> httpx2.Response:
    return await house.client.post("/claim", json=CLAIM)


async def test_a_flood_of_claims_is_noted_one_by_one_then_by_its_powers_of_two(house: House) -> None:
    assert await claim(house, NETWORK.free + 1) == {410}
    assert await claim(house, 100) == {429}
    assert await held(house, "claim.use") == [1, 2, 4, 8, 16, 32, 64]
    assert len(await house.audited("claim.use")) == NETWORK.free + 1 + 7


async def test_a_flood_of_logins_from_a_held_network_is_noted_by_its_powers_of_two(house: House) -> None:
    await claim(house, NETWORK.free + 1)
    for begin in range(0, 100, 20):
        names = [f"{'u' * 300}@x{number}" for number in range(begin, begin + 20)]
        answers = await asyncio.gather(*(house.try_login(name, "wrong") for name in names))
        assert {answer.status_code for answer in answers} == {429}
    assert await held(house, "session.open") == [1, 2, 4, 8, 16, 32, 64]


async def test_after_a_quiet_time_a_held_network_is_noted_from_the_first_again(house: House) -> None:
    for _ in range(2):
        await claim(house, NETWORK.free + 4)
        await turn(house.repository, 60 * 961)
    assert await held(house, "claim.use") == [1, 1, 2, 2]


async def test_a_claim_of_a_held_network_is_told_when_to_come_again(house: House) -> None:
    await claim(house, NETWORK.free + 1)
    answer = await post_claim(house)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
        429,
        "too-many-attempts",
        "120",
    )
    page = await house.client.post("/claim", data={**CLAIM, "again": PASSWORD})
    assert (page.status_code, page.headers["retry-after"]) == (429, "240")
    assert "are held for 240 s" in page.text
    assert page.headers["content-type"].startswith("text/html")
