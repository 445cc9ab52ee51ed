"""How attempts are held up, as arithmetic, and what a network is."""

import pytest

from nms.auth.throttle import ACCOUNT, FORGIVING_SECONDS, NETWORK, PAIR, Rule, network_of

RULES = (NETWORK, PAIR, ACCOUNT)


def test_the_first_attempts_are_free_then_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    assert Rule(free=3, longest=10, counted=9).delays() == [0, 0, 0, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_counts_far_enough_for_its_longest_wait_and_forgives_all_in_one_window(rule: Rule) -> None:
    assert rule.delays()[rule.free - 1 : rule.free + 2] == [0, 1, 2]
    assert rule.delays()[-1] == rule.longest
    assert rule.step * rule.counted == FORGIVING_SECONDS


def test_an_account_is_held_for_a_minute_at_most_and_a_network_for_five() -> None:
    assert (PAIR.longest, ACCOUNT.longest, NETWORK.longest) == (60, 60, 300)


def test_guesses_from_one_network_never_hold_the_account_up_elsewhere() -> None:
    """What the pair lets through in whatever time stays below the free guesses of the account."""
    now = held = 0.0
    pair = account = worst = 0.0
    while now < 6 * 3600:
        pair, account = max(pair - 1 / PAIR.step, 0), max(account - 1 / ACCOUNT.step, 0)
        if now >= held:
            account += 1
            worst = max(worst, account)
            held = now + PAIR.delays()[min(int(pair), PAIR.counted - 1)]
        pair, now = min(pair + 1, PAIR.counted), now + 1
    assert worst < ACCOUNT.free


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
