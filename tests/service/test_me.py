"""Oneself: who am I, and a new password that ends all other sessions."""

from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.signing import PASSWORD, House
from tests.service.web_client import problem_of
from tests.waiting import eventually

NEW = "five other words instead"


@pytest.fixture
async def house(house: House) -> House:
    await house.add("ann@example.org", "viewer")
    return house


async def change(house: House, tokens: Any, current: str = PASSWORD, new: str = NEW) -> httpx2.Response:
    return await house.ask("PUT", "/me/password", tokens, json={"current": current, "new": new})


async def test_a_new_password_ends_all_other_sessions_and_this_one_goes_on(house: House) -> None:
    mine, other = await house.log_in("ann@example.org"), await house.log_in("ann@example.org")
    answer = await change(house, mine)
    assert (answer.status_code, answer.content) == (204, b"")

    async def is_out() -> bool:
        return (await house.ask("GET", "/me", other)).status_code == 401

    await eventually(is_out, 2)
    problem_of(await house.refresh(other["refresh_token"]), 400, "refresh-refused")
    assert (await house.ask("GET", "/me", mine)).status_code == 200
    assert (await house.refresh(mine["refresh_token"])).status_code == 200
    assert (await house.try_login("ann@example.org")).status_code == 400
    await house.log_in("ann@example.org", NEW)
    (line,) = await house.audited("user.password")
    assert (line["outcome"], line["actor"]) == ("done", line["subject"])


async def test_a_wrong_current_password_changes_nothing_and_is_noted(house: House) -> None:
    mine = await house.log_in("ann@example.org")
    problem_of(await change(house, mine, current="wrong"), 403, "password-wrong")
    assert [line["outcome"] for line in await house.audited("user.password")] == ["refused"]
    await house.log_in("ann@example.org")


async def test_guesses_at_the_current_password_are_held_up_as_logins_are(house: House) -> None:
    mine = await house.log_in("ann@example.org")
    for _ in range(8):
        problem_of(await change(house, mine, current="wrong"), 403, "password-wrong")
    problem_of(await change(house, mine), 403, "password-wrong")


async def test_the_new_one_keeps_the_rules_of_passwords(house: House) -> None:
    mine = await house.log_in("ann@example.org")
    for new in ("short", "password1234", "ann@example.org", "x" * 129):
        refused = problem_of(await change(house, mine, new=new), 422, "password-refused")
        assert [each["pointer"] for each in refused["errors"]] == ["/new"]


async def test_a_machine_has_no_self(house: House, auth_settings: Settings) -> None:
    tokens = {"access_token": mint_token(auth_settings, ["*"], subject="operator")}
    assert (await house.ask("GET", "/me", tokens)).status_code == 404
    assert (await change(house, tokens)).status_code == 404


async def test_of_two_changes_at_once_the_second_needs_the_new_password(house: House) -> None:
    mine = await house.log_in("ann@example.org")
    assert (await change(house, mine)).status_code == 204
    problem_of(await change(house, mine), 403, "password-wrong")
    assert (await change(house, mine, current=NEW, new=PASSWORD)).status_code == 204
