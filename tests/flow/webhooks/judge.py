"""What each side says at the end, and the verdict over it (pure)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.flow.proof.records import Fault, Verdict


class Stored(NamedTuple):
    """One event of the inbox: its place among all, its id, the webhook that it was, and whose."""

    place: int
    id: str
    webhook: int
    customer: int


@dataclass(frozen=True)
class Evidence:
    """What the sender was told, and what inbox, queue and target hold.

    `acknowledged`: the ids that each webhook was answered with; `unanswered`: webhooks that got no answer at last.
    `delivered`: ids in the order of the queue; `arrived`: ids in the order in which rows were written or changed;
    `customers`: the same, by customer.
    """

    acknowledged: Mapping[int, Sequence[str]]
    stored: Sequence[Stored]
    delivered: Sequence[str]
    arrived: Sequence[str]
    customers: Mapping[int, Sequence[str]]
    unanswered: frozenset[int] = field(default_factory=frozenset)


def judge(evidence: Evidence) -> Verdict:
    """What was lost, doubled, reordered or invented."""
    verdict = Verdict()
    _judge_storing(evidence, verdict)
    places = {event.id: event.place for event in evidence.stored}
    _judge_delivery(evidence.delivered, places, verdict)
    _judge_arrivals(evidence.arrived, places, verdict)
    _judge_customers(evidence, places, verdict)
    verdict.facts = {
        "acknowledged": len(evidence.acknowledged),
        "unanswered": len(evidence.unanswered),
        "stored": len(evidence.stored),
        "delivered": len(set(evidence.delivered)),
        "repeated": len(evidence.delivered) - len(set(evidence.delivered)),
        "applied": len(set(evidence.arrived)),
        "written": sum(map(len, evidence.customers.values())),
    }
    return verdict


def _judge_storing(evidence: Evidence, verdict: Verdict) -> None:
    stored: dict[int, list[str]] = defaultdict(list)
    for event in evidence.stored:
        stored[event.webhook].append(event.id)
    for webhook, answers in evidence.acknowledged.items():
        if len(set(answers)) > 1:
            verdict.add(Fault.DOUBLED, f"webhook {webhook} was acknowledged under {len(set(answers))} ids")
        for id_ in set(answers).difference(stored[webhook]):
            verdict.add(Fault.LOST, f"webhook {webhook} was acknowledged as {id_} and is not stored")
    for webhook, ids in stored.items():
        if len(ids) > 1:
            verdict.add(Fault.DOUBLED, f"webhook {webhook} is stored {len(ids)} times")
        if ids and webhook not in evidence.acknowledged and webhook not in evidence.unanswered:
            verdict.add(Fault.INVENTED, f"webhook {webhook} is stored and nobody sent it")


def _judge_delivery(delivered: Sequence[str], places: Mapping[str, int], verdict: Verdict) -> None:
    first = list(dict.fromkeys(delivered))
    for id_ in places.keys() - set(first):
        verdict.add(Fault.LOST, f"event {id_} was not delivered to the queue")
    for id_ in set(first) - places.keys():
        verdict.add(Fault.INVENTED, f"event {id_} is in the queue and not stored")
    _judge_order("the queue", (places[id_] for id_ in first if id_ in places), verdict)


def _judge_arrivals(arrived: Sequence[str], places: Mapping[str, int], verdict: Verdict) -> None:
    times = Counter(arrived)
    for id_ in places.keys() - times.keys():
        verdict.add(Fault.LOST, f"event {id_} did not come to the target")
    for id_, count in times.items():
        if id_ not in places:
            verdict.add(Fault.INVENTED, f"event {id_} is at the target and not stored")
        if count > 1:
            verdict.add(Fault.DOUBLED, f"event {id_} was written {count} times")


def _judge_customers(evidence: Evidence, places: Mapping[str, int], verdict: Verdict) -> None:
    last: dict[int, int] = {}
    for event in evidence.stored:
        last[event.customer] = max(event.place, last.get(event.customer, 0))
    for customer, place in last.items():
        written = [places[id_] for id_ in evidence.customers.get(customer, ()) if id_ in places]
        _judge_order(f"customer {customer}", written, verdict)
        if not written or written[-1] != place:
            verdict.add(Fault.LOST, f"customer {customer} does not show its last event, {place}")


def _judge_order(where: str, places: Iterable[int], verdict: Verdict) -> None:
    newest = 0
    for place in places:
        if place == newest:
            verdict.add(Fault.DOUBLED, f"{where}: event {place} twice")
        elif place < newest:
            verdict.add(Fault.REORDERED, f"{where}: event {place} behind {newest}")
        newest = max(newest, place)
