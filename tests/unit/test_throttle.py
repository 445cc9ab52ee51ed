"""How attempts are held up, as arithmetic, and what a network is."""

from random import Random

import pytest

from nms.auth.throttle import ACCOUNT, FORGIVING_SECONDS, NETWORK, PAIR, SITE, Rule, network_of, site_of
from tests.service.throttled import Counted

RULES = (SITE, NETWORK, PAIR, ACCOUNT)


def test_the_first_attempts_are_free_then_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    assert Rule(free=3, longest=10, counted=9).delays() == [0, 0, 0, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_counts_far_enough_for_its_longest_wait_and_forgives_all_in_one_window(rule: Rule) -> None:
    assert rule.delays()[rule.free - 1 : rule.free + 2] == [0, 1, 2]
    assert rule.delays()[-1] == rule.longest
    assert rule.step * rule.counted == FORGIVING_SECONDS


def test_nobody_waits_longer_than_a_minute() -> None:
    assert {rule.longest for rule in RULES} == {60}


@pytest.mark.parametrize("every", [0.1, 1.0, 7.0, 25.0])
def test_however_fast_the_guesses_one_in_a_delay_gets_through(every: float) -> None:
    key, lots, hours = Counted(PAIR), Random(7), 4
    through = sum(key.admit(n * every, lots.random()) for n in range(int(hours * 3600 / every)))
    expected = hours * 3600 / PAIR.longest + PAIR.free
    assert expected * 0.8 < through < expected * 1.2


def test_guesses_from_one_network_never_hold_the_account_up_elsewhere() -> None:
    """What the pair lets through in whatever time stays below the free guesses of the account."""
    pair, account, lots = Counted(PAIR), Counted(ACCOUNT), Random(7)
    let_through = [now for now in range(24 * 3600) if pair.admit(now, lots.random())]
    assert len(let_through) > 1000
    assert all(account.admit(now, 1.0) for now in let_through)


@pytest.mark.parametrize("networks", [10, 40])
def test_against_a_botnet_an_owner_at_a_new_place_has_the_share_of_one_network(networks: int) -> None:
    """Each network guesses every 5 s, the owner tries once a minute: of what gets through hers is one in `networks`."""
    pairs, account, owner, lots = [Counted(PAIR) for _ in range(networks)], Counted(ACCOUNT), Counted(PAIR), Random(7)
    minutes, let_in, guessed = networks * 15, 0, 0
    for minute in range(minutes):
        mine = lots.uniform(0, 60)
        moments = sorted((5 * turn + lots.uniform(0, 5), n) for n in range(networks) for turn in range(12))
        for at, who in sorted([*moments, (mine, -1)]):
            now = 60 * minute + at
            pair = owner if who < 0 else pairs[who]
            if pair.admit(now, lots.random()) and account.admit(now, lots.random()):
                let_in, guessed = let_in + (who < 0), guessed + (who >= 0)
    assert 0.4 < let_in * networks / minutes < 2.5
    assert guessed < minutes * 1.2 + ACCOUNT.free


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_a_network_is_an_address_of_version_4_or_64_bits_of_version_6(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("address", "site"),
    [("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"), ("203.0.113.7", None), ("::ffff:203.0.113.7", None), ("x", None)],
)
def test_a_site_is_48_bits_of_version_6(address: str, site: str | None) -> None:
    assert site_of(address) == site
