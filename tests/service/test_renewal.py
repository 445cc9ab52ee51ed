"""A hash that was made with other parameters is renewed when its owner logs in, and by nothing else."""

from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher

from nms.auth.problems import AuthBusy
from tests.service.signing import PASSWORD, House

OLD = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@pytest.fixture
async def account(house: House) -> UUID:
    house.hashes[PASSWORD] = OLD
    return await house.add("ann@example.org", "viewer")


async def stored(house: House, account: UUID) -> str:
    return str(await house.pool.fetchval("select password from auth.account where id = $1", account))


async def test_a_good_login_renews_the_hash_and_a_wrong_one_does_not(house: House, account: UUID) -> None:
    await house.try_login("ann@example.org", "wrong")
    assert await stored(house, account) == OLD
    tokens = await house.log_in("ann@example.org")
    renewed = await stored(house, account)
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await house.log_in("ann@example.org")
    assert await stored(house, account) == renewed
    assert (await house.ask("GET", "/me", tokens)).json()["revision"] == 1


async def test_a_password_that_was_set_meanwhile_stays(
    house: House, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = house.app.state.passwords
    another, hash_it = await passwords.hash("five other words instead"), passwords.hash

    async def meanwhile(password: str) -> Any:
        await house.pool.execute("update auth.account set password = $2 where id = $1", account, another)
        return await hash_it(password)

    monkeypatch.setattr(passwords, "hash", meanwhile)
    await house.log_in("ann@example.org")
    assert await stored(house, account) == another


async def test_no_room_to_renew_it_refuses_no_login(
    house: House, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(password: str) -> Any:
        raise AuthBusy

    monkeypatch.setattr(house.app.state.passwords, "hash", busy)
    await house.log_in("ann@example.org")
    assert await stored(house, account) == OLD
