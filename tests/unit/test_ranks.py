"""The judge of timings: what it says of sets that are alike, apart, and a little apart."""

import random

import pytest

from bench.auth.ranks import separation, separations


def by_pairs(one: list[float], other: list[float]) -> float:
    """The same, by the definition."""
    area = sum((a > b) + (a == b) / 2 for a in one for b in other) / (len(one) * len(other))
    return max(area, 1 - area)


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_ranks_say_what_all_pairs_say_with_and_without_ties(digits: int) -> None:
    chance = random.Random(digits)
    for _ in range(50):
        one = [round(chance.gauss(1, 1), digits) for _ in range(chance.randint(1, 40))]
        other = [round(chance.gauss(1.3, 1), digits) for _ in range(chance.randint(1, 40))]
        assert separation(one, other) == pytest.approx(by_pairs(one, other))


def test_what_is_the_same_is_not_told_apart_and_what_is_apart_is() -> None:
    assert separation([1.0] * 9, [1.0] * 4) == 0.5
    assert separation([1.0, 2.0], [3.0, 4.0]) == separation([3.0, 4.0], [1.0, 2.0]) == 1.0


def test_a_fifth_of_the_spread_at_400_timings_is_seen() -> None:
    chance = random.Random(4)
    alike = [chance.gauss(28e-3, 2e-3) for _ in range(400)]
    also = [chance.gauss(28e-3, 2e-3) for _ in range(400)]
    longer = [value + 0.5e-3 for value in also]
    found = separations({"unknown": alike, "wrong": also, "disabled": longer})
    assert found["unknown / wrong"] <= 0.55 < min(found["unknown / disabled"], found["wrong / disabled"])
