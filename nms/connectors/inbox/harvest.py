"""What some events hold for all datasets of a pipeline, bounded by changes (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nms.common.change import Change, Op
from nms.common.flow import Poison
from nms.common.messages import MessageUnreadable
from nms.connectors.inbox.reading import Event, Reader


@dataclass(frozen=True, slots=True)
class Harvest:
    """Changes of whole events in order, how many each has, and what could not be read; `rest` is still to be read."""

    events: Sequence[Event]
    rest: Sequence[Event]
    changes: list[Change] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)


def harvest(readers: Mapping[str, Reader], events: Sequence[Event], most: int) -> Harvest:
    """Read events up to the one with which there are `most` changes; it is read whole."""
    changes: list[Change] = []
    poison: list[Poison] = []
    ends: list[tuple[int, int]] = []
    for event in events:
        found = list(_read(readers, event, poison))
        if all(change.op is Op.DELETE for change in found):
            # Children go before their parents, as they come behind them.
            found.reverse()
        changes += found
        ends.append((len(found), event.number))
        if len(changes) >= most:
            break
    return Harvest(events[: len(ends)], events[len(ends) :], changes, poison, ends)


def _read(readers: Mapping[str, Reader], event: Event, poison: list[Poison]) -> Iterator[Change]:
    """The changes of an event, dataset by dataset; those that cannot read it are noted."""
    for name, reader in readers.items():
        if not reader.takes(event):
            continue
        try:
            yield from reader.read(event)
        except MessageUnreadable as problem:
            poison.append(Poison(name, str(event.id), reader.hold(event), problem))
