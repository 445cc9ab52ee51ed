"""How well two sets of times can be told apart, exactly."""

from collections.abc import Mapping, Sequence
from itertools import combinations


def separation(one: Sequence[float], other: Sequence[float]) -> float:
    """The area under the ROC curve, whichever way round: 0.5 is no separation, 1.0 a whole one.

    The Mann-Whitney U by ranks, ties at their middle rank, divided by the number of pairs.
    """
    ranked = sorted([(value, True) for value in one] + [(value, False) for value in other])
    total = 0.0
    begin = 0
    while begin < len(ranked):
        end = begin
        while end < len(ranked) and ranked[end][0] == ranked[begin][0]:
            end += 1
        middle = (begin + 1 + end) / 2
        total += middle * sum(first for _, first in ranked[begin:end])
        begin = end
    wins = total - len(one) * (len(one) + 1) / 2
    area = wins / (len(one) * len(other))
    return max(area, 1 - area)


def separations(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The separation of every two kinds, `one / other`."""
    return {f"{one} / {other}": separation(times[one], times[other]) for one, other in combinations(times, 2)}
