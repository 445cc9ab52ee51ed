"""Where topics are read: offsets of partitions, as a position keeps them (pure)."""

from collections.abc import Iterable, Mapping

from nms.common.flow import Position
from nms.connectors.kafka.problems import OffsetLost, TopicReplaced

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""

Offsets = dict[Partition, int]
"""The next offset to read, by partition."""


def read_offsets(position: Position, topics: Iterable[str]) -> Offsets:
    """The offsets that a position keeps for these topics; other topics' are left out."""
    offsets: Offsets = {}
    wanted = frozenset(topics)
    for name, offset in position.get("offsets", {}).items():
        topic, _, partition = name.rpartition("/")
        if topic in wanted:
            offsets[topic, int(partition)] = int(offset)
    return offsets


def write_offsets(offsets: Mapping[Partition, int]) -> dict[str, int]:
    """Offsets as a position keeps them."""
    return {f"{topic}/{partition}": offsets[topic, partition] for topic, partition in sorted(offsets)}


def find_start(kept: Offsets, first: Mapping[Partition, int], last: Mapping[Partition, int], *, copy: bool) -> Offsets:
    """Where to begin each partition that there is; raises OffsetLost and TopicReplaced.

    `first` and `last` are where each begins and ends now. A partition without a place of a topic that has one is new:
    all of it came after what was read. A topic without any begins where `copy` says.
    """
    known = {topic for topic, _ in kept}
    for partition in sorted(kept.keys() - first.keys()):
        topic, number = partition
        raise TopicReplaced(f"{topic} has lost partition {number}, which was read before", topic=topic)
    start: Offsets = {}
    for partition, begin in first.items():
        topic, number = partition
        if partition not in kept:
            start[partition] = begin if copy or topic in known else last[partition]
            continue
        start[partition] = offset = kept[partition]
        if offset < begin:
            text = f"{begin - offset} messages of {topic}, partition {number}, are gone: it begins at {begin} now"
            raise OffsetLost(f"{text}, {offset} is next", topic=topic, partition=number, lost=begin - offset)
        if offset > last[partition]:
            text = f"{topic}, partition {number}, ends at {last[partition]}, and {offset} is next"
            raise TopicReplaced(text, topic=topic, partition=number)
    return start
