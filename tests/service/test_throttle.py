"""Attempts to log in are counted one by one, held up for a while, and never keep a victim out for good."""

import asyncio
from uuid import UUID

import pytest

from nms.auth.problems import TooManyAttempts
from nms.auth.repository import AuthRepository
from nms.auth.throttle import ACCOUNT, NETWORK, PAIR, Admission, admit, attempt_of, welcome
from nms.auth.worker import purge
from nms.common.settings import Settings

ADA = "ada@example.org"
HOME, OFFICE = "198.51.100.1", "2001:db8:1:2::7"


@pytest.fixture
async def repository(settings: Settings) -> AuthRepository:
    return await AuthRepository.open()


async def add_account(repository: AuthRepository, email: str) -> UUID:
    insert = "insert into auth.account (email, email_key, password) values ($1, $1, 'x') returning id"
    identity: UUID = await repository.connection.fetchval(insert, email)
    return identity


async def attempts(repository: AuthRepository, email: str, address: str) -> list[int]:
    """What is counted for the network, for both, and for the account."""
    keys = attempt_of(email, address).keys
    rows = await repository.connection.fetch("select key, attempts from auth.throttle")
    counted = {row["key"]: row["attempts"] for row in rows}
    return [counted.get(key, 0) for key in keys]


async def turn(repository: AuthRepository, seconds: float) -> None:
    """Let time pass for the throttle."""
    past = "update auth.throttle set held_until = held_until - $1, forgiven_at = forgiven_at - $1"
    await repository.connection.execute(past.replace("$1", f"interval '{seconds} s'"))


async def fail(repository: AuthRepository, times: int, email: str = ADA, address: str = HOME) -> list[bool]:
    """Attempts one after another; which of them were held."""
    return [(await admit(repository, email, address)).held for _ in range(times)]


async def come_in(repository: AuthRepository, email: str, address: str, account_id: UUID) -> Admission:
    admission = await admit(repository, email, address)
    assert not admission.held
    async with repository.transaction() as tx:
        await welcome(tx, admission, account_id)
    return admission


async def test_fifty_parallel_wrong_logins_count_as_fifty(repository: AuthRepository) -> None:
    found = await asyncio.gather(*(admit(repository, ADA, HOME) for _ in range(50)))
    assert (await attempts(repository, ADA, HOME))[:2] == [50, 50]
    assert [each.held for each in found].count(False) == PAIR.free + 1


async def test_fifty_parallel_from_everywhere_count_as_fifty_for_the_account(repository: AuthRepository) -> None:
    found = await asyncio.gather(*(admit(repository, ADA, f"203.0.113.{n}") for n in range(50)))
    assert (await attempts(repository, ADA, "203.0.113.1"))[2] == 50
    assert [each.held for each in found].count(False) == ACCOUNT.free + 1


async def test_parallel_attempts_at_many_accounts_from_many_networks_never_meet_head_on(
    repository: AuthRepository,
) -> None:
    names, places = [f"user-{n}@example.org" for n in range(4)], [f"203.0.113.{n}" for n in range(4)]
    accounts = {name: await add_account(repository, name) for name in names}

    async def one(number: int) -> None:
        name, place = names[number % 4], places[number // 4 % 4]
        admission = await admit(repository, name, place)
        if number % 3 == 0:
            async with repository.transaction() as tx:
                await welcome(tx, admission, accounts[name])

    await asyncio.gather(*(one(number) for number in range(96)))


async def test_waits_grow_and_an_attempt_while_held_makes_only_the_next_wait_longer(
    repository: AuthRepository,
) -> None:
    assert await fail(repository, PAIR.free + 2) == [False] * (PAIR.free + 1) + [True]
    await turn(repository, 1.5)
    # Two more are counted by now: the wait is 4 s, not 2.
    assert await fail(repository, 2) == [False, True]
    await turn(repository, 2.5)
    assert await fail(repository, 1) == [True]
    await turn(repository, 2.5)
    assert await fail(repository, 1) == [False]


async def test_nobody_waits_longer_than_a_minute_however_often_it_was_tried(repository: AuthRepository) -> None:
    await fail(repository, 40)
    await turn(repository, PAIR.longest + 1)
    assert await fail(repository, 2) == [False, True]


async def test_after_fifteen_quiet_minutes_all_is_forgiven_and_purged(repository: AuthRepository) -> None:
    await fail(repository, 40)
    await turn(repository, 800)
    await purge(repository)
    assert (await attempts(repository, ADA, HOME))[1] == 40
    await turn(repository, 101)
    assert await fail(repository, 1) == [False]
    assert await attempts(repository, ADA, HOME) == [1, 1, 1]
    await turn(repository, 901)
    await purge(repository)
    assert await attempts(repository, ADA, HOME) == [0, 0, 0]


async def test_a_network_that_fails_at_many_accounts_is_told_to_wait(repository: AuthRepository) -> None:
    for number in range(NETWORK.free + 1):
        await admit(repository, f"user-{number}@example.org", HOME)
    with pytest.raises(TooManyAttempts) as refused:
        await admit(repository, "another@example.org", HOME)
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    assert (await attempts(repository, "another@example.org", HOME))[1:] == [1, 1]
    assert not (await admit(repository, "another@example.org", OFFICE)).held


async def test_what_its_network_held_is_no_guess_at_the_account(repository: AuthRepository) -> None:
    for number in range(NETWORK.free + 1):
        await admit(repository, f"user-{number}@example.org", HOME)
    for _ in range(ACCOUNT.counted):
        with pytest.raises(TooManyAttempts):
            await admit(repository, ADA, HOME)
    assert await fail(repository, 1, address=OFFICE) == [False]


async def test_guesses_from_elsewhere_do_not_hold_up_an_account_where_it_has_logged_in_before(
    repository: AuthRepository,
) -> None:
    ada = await add_account(repository, ADA)
    await come_in(repository, ADA, OFFICE, ada)
    for number in range(ACCOUNT.counted):
        await admit(repository, ADA, f"203.0.113.{number}")
    assert await fail(repository, 1, address=HOME) == [True]
    neighbour = OFFICE.replace("::7", "::8")
    assert await fail(repository, PAIR.free + 1, address=neighbour) == [False] * (PAIR.free + 1)
    assert await fail(repository, 1, address=OFFICE) == [True]


async def test_a_good_login_forgets_the_account_and_costs_its_network_nothing(repository: AuthRepository) -> None:
    ada = await add_account(repository, ADA)
    for number in range(2 * NETWORK.counted):
        await fail(repository, 1, address=f"203.0.113.{number}")
        await come_in(repository, ADA, HOME, ada)
    assert await attempts(repository, ADA, HOME) == [0, 0, 0]
    await fail(repository, 3)
    await come_in(repository, ADA, HOME, ada)
    assert await attempts(repository, ADA, HOME) == [3, 0, 0]


async def test_an_account_that_does_not_exist_is_counted_like_one_that_does(repository: AuthRepository) -> None:
    await add_account(repository, ADA)
    assert await fail(repository, 9, address=HOME) == await fail(repository, 9, "nobody@example.org", OFFICE)


async def test_the_table_names_neither_accounts_nor_networks(repository: AuthRepository) -> None:
    await fail(repository, 2)
    (text,) = await repository.connection.fetchrow("select string_agg(t::text, ' ') from auth.throttle t")
    assert ADA not in text
    assert HOME not in text
