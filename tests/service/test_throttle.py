"""Attempts to log in are counted one by one, held up for a while, and never keep a victim out for good."""

import asyncio
from random import Random
from uuid import UUID

import pytest

from nms.auth import throttle
from nms.auth.problems import TooManyAttempts
from nms.auth.repository import AuthRepository
from nms.auth.throttle import ACCOUNT, NETWORK, PAIR, SITE, Admission, admit, attempt_of, welcome
from nms.auth.worker import purge
from nms.common.settings import Settings
from tests.service.throttled import ADA, HOME, OFFICE, Counted, attempts, fail, stretch, turn


@pytest.fixture
async def repository(settings: Settings) -> AuthRepository:
    return await AuthRepository.open()


@pytest.fixture(autouse=True)
def draw(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The lots that are drawn next, the last one for ever: none wins unless a test says so."""
    lots = [1.0]
    monkeypatch.setattr(throttle, "draw_lot", lambda: lots.pop(0) if len(lots) > 1 else lots[0])
    return lots


@pytest.fixture
def stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    stretch(monkeypatch)


async def add_account(repository: AuthRepository, email: str) -> UUID:
    insert = "insert into auth.account (email, email_key, password) values ($1, $1, 'x') returning id"
    identity: UUID = await repository.connection.fetchval(insert, email)
    return identity


async def come_in(repository: AuthRepository, email: str, address: str, account_id: UUID) -> Admission:
    admission = await admit(repository, email, address)
    assert not admission.held
    async with repository.transaction() as tx:
        await welcome(tx, admission, account_id)
    return admission


@pytest.mark.usefixtures("stretched")
async def test_fifty_parallel_wrong_logins_count_as_fifty(repository: AuthRepository) -> None:
    found = await asyncio.gather(*(admit(repository, ADA, HOME) for _ in range(50)))
    assert (await attempts(repository, ADA, HOME))[:2] == [50, 50]
    assert [each.held for each in found].count(False) == PAIR.free + 1


@pytest.mark.usefixtures("stretched")
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


@pytest.mark.usefixtures("stretched")
async def test_waits_grow_and_an_attempt_while_held_begins_the_next_longer_one(repository: AuthRepository) -> None:
    assert await fail(repository, PAIR.free + 2) == [False] * (PAIR.free + 1) + [True]
    await turn(repository, 90)
    # Two more are counted by now: the wait is 2 times as long, then 4 times.
    assert await fail(repository, 1) == [True]
    await turn(repository, 270)
    assert await fail(repository, 2) == [False, True]


@pytest.mark.parametrize(("lot", "held"), [(0.4, False), (0.6, True)])
async def test_what_is_held_is_let_through_with_the_chance_of_the_quiet_before_it(
    repository: AuthRepository, draw: list[float], lot: float, held: bool
) -> None:
    await fail(repository, 30)
    await turn(repository, PAIR.longest / 2)
    draw[:] = [lot]
    assert await fail(repository, 1) == [held]


@pytest.mark.parametrize("key", range(5))
async def test_every_key_draws_a_lot_of_its_own(repository: AuthRepository, draw: list[float], key: int) -> None:
    """Let through by four lots and refused by the fifth."""
    keys = attempt_of(ADA, OFFICE).keys
    hold = (
        "insert into auth.throttle (key, attempts, forgiven_at, held_until, held_for, admitted) select key, 9,"
        " now() + interval '9 min', now() + interval '30 s', 60, true from unnest($1::bytea[]) as given (key)"
    )
    await repository.connection.execute(hold, list(keys))
    draw[:] = [0.9 if n == key else 0.1 for n in range(5)]
    if key < 2:
        with pytest.raises(TooManyAttempts):
            await admit(repository, ADA, OFFICE)
    else:
        assert await fail(repository, 1, address=OFFICE) == [True]
    await repository.connection.execute("update auth.throttle set held_until = now() + interval '30 s', held_for = 60")
    draw[:] = [0.1]
    assert await fail(repository, 1, address=OFFICE) == [False]


async def test_the_database_decides_as_the_arithmetic_does(repository: AuthRepository, draw: list[float]) -> None:
    counted, chance, turned, answers = Counted(PAIR), Random(3), 0.0, []
    key = attempt_of(ADA, HOME).keys[3]
    for _ in range(150):
        lot, quiet = chance.random(), chance.choice([0.0, 0.0, 1.0, 5.0, 20.0, 45.0])
        turned += quiet
        await turn(repository, quiet)
        draw[:] = [1.0, 1.0, 1.0, lot, 1.0]
        await repository.connection.execute("delete from auth.throttle where key <> $1", key)
        held = await fail(repository, 1)
        # By the moment that the database took: its clock went on before the statement came to it.
        moment = "select (extract(epoch from held_until) - held_for)::float8 from auth.throttle where key = $1"
        now = turned + await repository.connection.fetchval(moment, key)
        answers.append(held == [not counted.admit(now, lot)])
    assert all(answers)


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


@pytest.mark.usefixtures("stretched")
async def test_a_network_that_fails_at_many_accounts_is_told_to_wait(repository: AuthRepository) -> None:
    for number in range(NETWORK.free + 1):
        await admit(repository, f"user-{number}@example.org", HOME)
    with pytest.raises(TooManyAttempts) as refused:
        await admit(repository, "another@example.org", HOME)
    assert (refused.value.status, refused.value.retry_after) == (429, 120)
    assert (await attempts(repository, "another@example.org", HOME))[1:] == [1, 1]
    assert not (await admit(repository, "another@example.org", OFFICE)).held


@pytest.mark.usefixtures("stretched")
async def test_what_its_network_held_is_no_guess_at_the_account(repository: AuthRepository) -> None:
    for number in range(NETWORK.free + 1):
        await admit(repository, f"user-{number}@example.org", HOME)
    for _ in range(ACCOUNT.counted):
        with pytest.raises(TooManyAttempts):
            await admit(repository, ADA, HOME)
    assert await fail(repository, 1, address=OFFICE) == [False]


@pytest.mark.usefixtures("stretched")
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


async def test_guesses_from_elsewhere_in_its_site_do_not_hold_up_an_account_where_it_has_logged_in_before(
    repository: AuthRepository,
) -> None:
    await come_in(repository, ADA, OFFICE, await add_account(repository, ADA))
    for number in range(PAIR.counted):
        await fail(repository, 1, address=f"2001:db8:1:f{number:x}::1")
    assert await fail(repository, 1, address="2001:db8:1:3::1") == [True]
    assert await fail(repository, 1, address=OFFICE) == [False]


async def test_a_good_login_forgets_the_account_and_costs_its_network_nothing(repository: AuthRepository) -> None:
    ada = await add_account(repository, ADA)
    for number in range(2 * NETWORK.counted):
        await fail(repository, 1, address=f"203.0.113.{number}")
        await come_in(repository, ADA, HOME, ada)
    assert await attempts(repository, ADA, HOME) == [0, 0, 0]
    await fail(repository, 3)
    await come_in(repository, ADA, HOME, ada)
    assert await attempts(repository, ADA, HOME) == [3, 0, 0]


@pytest.mark.usefixtures("stretched")
async def test_an_account_that_does_not_exist_is_counted_like_one_that_does(repository: AuthRepository) -> None:
    await add_account(repository, ADA)
    assert await fail(repository, 9, address=HOME) == await fail(repository, 9, "nobody@example.org", OFFICE)


async def test_the_table_names_neither_accounts_nor_networks(repository: AuthRepository) -> None:
    await fail(repository, 2)
    (text,) = await repository.connection.fetchrow("select string_agg(t::text, ' ') from auth.throttle t")
    assert ADA not in text
    assert HOME not in text


async def test_one_machine_with_every_network_of_a_site_holds_an_account_up_nowhere_else(
    repository: AuthRepository,
) -> None:
    """An ordinary IPv6 customer has 65,536 networks; one guess from each, every 5 s, for ten minutes."""
    for number in range(120):
        await fail(repository, 1, address=f"2001:db8:9:{number:x}::1")
        await turn(repository, 5)
    assert await fail(repository, 1, address=HOME) == [False]
    assert await fail(repository, 1, address=OFFICE) == [False]
    assert await fail(repository, 1, address="2001:db8:9:ffff::1") == [True]


async def insist(repository: AuthRepository) -> None:
    """Attempts of one site: the first has to wait a second; one that comes later makes the next wait two."""
    for number in range(6):
        await admit(repository, f"another-{number}@example.org", "2001:db8:9:ffff::1")


async def test_one_machine_with_every_network_of_a_site_is_told_to_wait(repository: AuthRepository) -> None:
    for number in range(SITE.free + 1):
        await admit(repository, f"user-{number}@example.org", f"2001:db8:9:{number:x}::1")
    with pytest.raises(TooManyAttempts):
        await insist(repository)
