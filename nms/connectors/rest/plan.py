"""From the events of a batch to what is to be done: one errand a record, in an order a remote can follow (pure)."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from nms.common.change import Again, Change, Op
from nms.common.cloudevents import Event
from nms.common.ledger import Captured
from nms.connectors.rest.order import Act, Order
from nms.connectors.rest.values import key_of, values_of

ACTS: Final = {Op.UPDATE: Act.UPDATE, Op.DELETE: Act.DELETE}


@dataclass(slots=True)
class Errand:
    """One record's part of a batch: the events that are folded, what they come to, what is to be done."""

    events: list[Event]
    change: Change
    order: Order

    @property
    def dataset(self) -> str:
        """The dataset, by its name at the source."""
        return self.change.shape.dataset

    @property
    def identity(self) -> str:
        """What names it for ever: its newest change."""
        return self.events[-1].id

    @property
    def linked(self) -> str:
        """The key that the link of its record is kept under until now."""
        return self.order.linked

    @property
    def follows(self) -> bool:
        """Whether its record may have been written before: it is not inserted for the first time, or copied."""
        return self.order.act is Act.FOLLOW or any(event.change.op is not Op.INSERT for event in self.events)

    def captured(self, committed: float | None) -> Iterator[Captured]:
        """Its changes as the ledger is told of them, those folded into the newest first."""
        known = self.order.act is Act.FOLLOW and self.order.link is not None
        for event in self.events:
            last, op = event is self.events[-1], Op.UPDATE if known else event.change.op
            yield Captured(
                event.id, self.dataset, event.subject, op.value, committed,
                plan=self.order.plan() if last else None,
                into=None if last else self.identity,
            )  # fmt: skip


def fold(events: Iterable[Event], names: Mapping[str, Mapping[str, str]], insert: Act = Act.CREATE) -> list[Errand]:
    """One errand a record, in the order of last writes (DESIGN 4.5); no barrier among the events.

    `names` has the names that fields have at the remote by dataset; `insert` is what an insert asks for. Raises
    ValueError where a value has no form in JSON.
    """
    folded: dict[tuple[str, bytes], tuple[list[Event], Change]] = {}
    for event in events:
        change = event.change
        key = (change.shape.dataset, change.key)
        earlier = folded.pop(key, None)
        folded[key] = ([event], change) if earlier is None else ([*earlier[0], event], earlier[1].then(change))
    return [make_errand(members, change, names, insert) for members, change in folded.values()]


def make_errand(
    events: list[Event], change: Change, names: Mapping[str, Mapping[str, str]], insert: Act = Act.CREATE
) -> Errand:
    """What the folded changes of one record come to."""
    renamed = names.get(change.shape.dataset, {})
    act = Act.MOVE if change.old_key is not None else ACTS.get(change.op, insert)
    if act is Act.CREATE and any(one.change.op is Op.DELETE for one in events):
        # What was deleted before it came again may still be there.
        act = Act.ENSURE
    key = key_of(change.shape, change.key, renamed)
    old = None if change.old_key is None else key_of(change.shape, change.old_key, renamed)
    own = key_of(change.shape, change.key, {})
    own_old = None if change.old_key is None else key_of(change.shape, change.old_key, {})
    values, again = values_of(change, renamed), any(isinstance(one.change, Again) for one in events)
    return Errand(
        events, change, Order(act, key, values, not change.partial, old, own=own, own_old=own_old, again=again)
    )


def phases(errands: Sequence[Errand], datasets: Sequence[str]) -> Iterator[list[Errand]]:
    """Jobs that may be done at a time: parents before children, and when all is written deletes the other way round."""
    for deletes, order in ((False, datasets), (True, datasets[::-1])):
        for dataset in order:
            found = [one for one in errands if one.dataset == dataset and (one.order.act is Act.DELETE) == deletes]
            if found:
                yield found


def segments(events: Sequence[Event], known: Collection[str]) -> Iterator[tuple[bool, list[Event]]]:
    """Events that are not known yet, cut where folding must stop: barriers by themselves (true), the rest (false)."""
    fresh = (event for event in events if event.id not in known)
    for barrier, group in groupby(fresh, key=lambda event: event.change.barrier):
        if barrier:
            yield from ((True, [event]) for event in group)
        else:
            yield from ((False, one) for one in _apart(group))


def _apart(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Events cut before a record that comes back with some of its fields: the others must not outlive its deletion."""
    segment: list[Event] = []
    deleted: set[tuple[str, bytes]] = set()
    for event in events:
        change = event.change
        record = change.shape.dataset, change.key
        if record in deleted and change.partial:
            yield segment
            segment, deleted = [], set()
        if change.op is Op.DELETE:
            deleted.add(record)
        segment.append(event)
    yield segment
