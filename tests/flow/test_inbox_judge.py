"""The judge of webhooks goes red on every fault that is planted, and stays green on what is legal."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.flow.proof.records import Fault
from tests.flow.webhooks.judge import Evidence, Stored, judge

CUSTOMERS = 3
EVENTS = [Stored(10 + 2 * n, f"id-{n}", n, n % CUSTOMERS) for n in range(12)]
IDS = [event.id for event in EVENTS]


def faithful() -> Evidence:
    """Twelve webhooks of three customers, each acknowledged once, webhook 4 sent twice at once."""
    acknowledged = {event.webhook: [event.id] * (2 if event.webhook == 4 else 1) for event in EVENTS}
    customers = {n: [event.id for event in EVENTS if event.customer == n] for n in range(CUSTOMERS)}
    return Evidence(acknowledged, EVENTS, IDS, IDS, customers)


def seen(evidence: Evidence) -> set[Fault]:
    return {fault for fault, count in judge(evidence).counts.items() if count}


def swapped(ids: list[str], at: int) -> list[str]:
    return [*ids[:at], ids[at + 1], ids[at], *ids[at + 2 :]]


LEGAL: dict[str, Callable[[Evidence], Evidence]] = {
    "as it was": lambda e: e,
    "a batch that is delivered again": lambda e: replace(e, delivered=[*IDS[:8], *IDS[3:]]),
    "several events of a customer in one write": lambda e: replace(e, customers={**e.customers, 1: [IDS[4], IDS[10]]}),
    "rows of a batch in another order": lambda e: replace(e, arrived=swapped(IDS, 3)),
    "stored without an answer": lambda e: replace(
        e, acknowledged={n: ids for n, ids in e.acknowledged.items() if n != 7}, unanswered=frozenset({7})
    ),
}
PLANTED: dict[str, tuple[Callable[[Evidence], Evidence], set[Fault]]] = {
    "an acknowledged webhook that is not stored": (
        lambda e: replace(e, acknowledged={**e.acknowledged, 99: ["id-99"]}), {Fault.LOST},
    ),
    "a webhook that is stored twice": (
        lambda e: replace(
            e,
            stored=[*EVENTS, Stored(99, "id-x", 5, 2)],
            delivered=[*IDS, "id-x"],
            arrived=[*IDS, "id-x"],
            customers={**e.customers, 2: [*e.customers[2], "id-x"]},
        ),
        {Fault.DOUBLED},
    ),
    "a double that got an id of its own": (
        lambda e: replace(e, acknowledged={**e.acknowledged, 4: ["id-4", "id-5"]}), {Fault.LOST, Fault.DOUBLED},
    ),
    "stored, and nobody sent it": (
        lambda e: replace(e, acknowledged={n: ids for n, ids in e.acknowledged.items() if n != 7}), {Fault.INVENTED},
    ),
    "not delivered": (lambda e: replace(e, delivered=[id_ for id_ in IDS if id_ != "id-7"]), {Fault.LOST}),
    "delivered in another order": (lambda e: replace(e, delivered=swapped(IDS, 3)), {Fault.REORDERED}),
    "delivered, and not stored": (lambda e: replace(e, delivered=[*IDS, "id-x"]), {Fault.INVENTED}),
    "not at the target": (lambda e: replace(e, arrived=IDS[:-1]), {Fault.LOST}),
    "twice at the target": (lambda e: replace(e, arrived=[*IDS, IDS[2]]), {Fault.DOUBLED}),
    "at the target, and not stored": (lambda e: replace(e, arrived=[*IDS, "id-x"]), {Fault.INVENTED}),
    "a customer written in another order": (
        lambda e: replace(e, customers={**e.customers, 1: swapped(list(e.customers[1]), 0)}), {Fault.REORDERED},
    ),
    "a customer written twice by one event": (
        lambda e: replace(e, customers={**e.customers, 1: [*e.customers[1], IDS[10]]}), {Fault.DOUBLED},
    ),
    "a customer without the last event": (
        lambda e: replace(e, customers={**e.customers, 1: list(e.customers[1])[:-1]}), {Fault.LOST},
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", LEGAL.values(), ids=LEGAL)
def test_what_is_legal_is_clean(change: Callable[[Evidence], Evidence]) -> None:
    verdict = judge(change(faithful()))
    assert verdict.clean, str(verdict)


@pytest.mark.parametrize(("spoil", "expected"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_named(spoil: Callable[[Evidence], Evidence], expected: set[Fault]) -> None:
    evidence = spoil(faithful())
    assert seen(evidence) == expected, str(judge(evidence))
