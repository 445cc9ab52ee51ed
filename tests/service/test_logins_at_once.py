"""Logins that meet something else: a change of the account, its end, another login, a signer that is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher

from nms.auth.keys import Keyring
from nms.auth.repository import AuthRepository
from nms.common.problem import Unavailable
from tests.service.signing import PASSWORD, House

NEW = "another fine battery"


@asynccontextmanager
async def login_under_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[asyncio.Task[httpx2.Response], asyncio.Event]]:
    """A login of Ann's whose session is written and not committed, until the event is set."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    insert = AuthRepository.insert_session

    async def pause(self: AuthRepository, *given: Any) -> Any:
        standing = await insert(self, *given)
        reached.set()
        await go_on.wait()
        return standing

    monkeypatch.setattr(AuthRepository, "insert_session", pause)
    login = asyncio.create_task(house.try_login("ann@example.org"))
    await asyncio.wait_for(reached.wait(), 90)
    yield login, go_on


@pytest.mark.parametrize("how", ["own", "administrator", "closed and opened"])
async def test_no_session_of_the_old_password_outlives_its_change(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    account = await house.add("ann@example.org", "viewer")
    await house.add("root@example.org", "admin")
    root, own = await house.log_in("root@example.org"), await house.log_in("ann@example.org")

    async def change() -> int:
        if how == "own":
            body = {"current": PASSWORD, "new": NEW}
            return (await house.ask("PUT", "/me/password", own, json=body)).status_code
        path = f"/users/{account}"
        if how == "administrator":
            return (await house.ask("PATCH", path, root, json={"password": NEW})).status_code
        await house.ask("PATCH", path, root, json={"disabled": True})
        return (await house.ask("PATCH", path, root, json={"disabled": False})).status_code

    async with login_under_way(house, monkeypatch) as (login, go_on):
        changing = asyncio.create_task(change())
        await asyncio.wait([changing], timeout=0.3)
        go_on.set()
        assert await changing in (200, 204)
        stolen = await login
    if stolen.status_code == 200:
        assert (await house.refresh(stolen.json()["refresh_token"])).status_code == 400


async def test_deleting_an_account_that_logs_in_meets_no_deadlock(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await house.add("ann@example.org", "viewer")
    await house.add("root@example.org", "admin")
    root = await house.log_in("root@example.org")
    async with login_under_way(house, monkeypatch) as (login, go_on):
        deleting = asyncio.create_task(house.ask("DELETE", f"/users/{account}", root))
        await asyncio.wait([deleting], timeout=0.3)
        go_on.set()
        assert (await deleting).status_code == 204
        assert (await login).status_code in (200, 400)


async def test_logins_at_once_are_all_let_in_while_the_hash_is_renewed(house: House) -> None:
    account = await house.add("ann@example.org", "viewer")
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD.encode())
    for _ in range(3):
        await house.pool.execute("update auth.account set password = $2 where id = $1", account, old)
        answers = await asyncio.gather(*(house.try_login("ann@example.org") for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5


async def test_what_cannot_be_signed_opens_no_session_and_uses_no_token_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.add("ann@example.org", "viewer")
    tokens = await house.log_in("ann@example.org")

    async def away(*_: Any) -> None:
        raise Unavailable("The key cannot be opened.")

    with monkeypatch.context() as patch:
        patch.setattr(Keyring, "signer", away)
        assert (await house.refresh(tokens["refresh_token"])).status_code == 503
        assert (await house.try_login("ann@example.org")).status_code == 503
    assert await house.pool.fetchval("select array_agg(generation) from auth.session") == [0]
    assert (await house.refresh(tokens["refresh_token"])).status_code == 200
