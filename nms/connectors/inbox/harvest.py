"""What some events hold for all datasets of a pipeline, bounded by changes (pure)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nms.common.change import Change, Op, again
from nms.common.flow import Poison
from nms.common.messages import MessageUnreadable
from nms.connectors.inbox.reading import Event, Reader


@dataclass(frozen=True, slots=True)
class Harvest:
    """Changes of whole events in order, how many each has, and what could not be read; `rest` is still to be read.

    By dataset: `seen` events of its endpoint, of which `met` had a record or could not be read.
    """

    events: Sequence[Event]
    rest: Sequence[Event]
    changes: list[Change] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)


def harvest(readers: Mapping[str, Reader], events: Sequence[Event], most: int, old: int = 0) -> Harvest:
    """Read events up to the one with which there are `most` changes; it is read whole.

    What a replay passes on, and events up to the number `old`, are to be made once more whatever became of them.
    """
    made = Harvest(events, ())
    for event in events:
        found = list(_read(readers, event, made))
        if all(change.op is Op.DELETE for change in found):
            # Children go before their parents, as they come behind them.
            found.reverse()
        repeats = event.run is not None or event.number <= old
        made.changes.extend(map(again, found) if repeats else found)
        made.ends.append((len(found), event.number))
        if len(made.changes) >= most:
            break
    return replace(made, events=events[: len(made.ends)], rest=events[len(made.ends) :])


def _read(readers: Mapping[str, Reader], event: Event, made: Harvest) -> Iterator[Change]:
    """The changes of an event, dataset by dataset; those that cannot read it are noted."""
    for name, reader in readers.items():
        made.seen[name] += event.endpoint == reader.resource.endpoint
        if not reader.takes(event):
            continue
        try:
            found = reader.read(event)
            made.met[name] += bool(found)
            yield from found
        except MessageUnreadable as problem:
            made.met[name] += 1
            made.poison.append(Poison(name, str(event.id), reader.hold(event), problem))
