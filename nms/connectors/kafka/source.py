"""Topics as a source: all their partitions are read from offsets that are kept with the rows at the target."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from nms.common.change import Change
from nms.common.flow import Batch, FeedSpec, Part, Poison, Position
from nms.common.messages import MessageUnreadable
from nms.common.problem import Problem
from nms.connectors.kafka.client import begin, end, known_partitions, list_partitions, missing, options, within
from nms.connectors.kafka.config import Access, Limits
from nms.connectors.kafka.offsets import Offsets, Partition, find_start, read_offsets, write_offsets
from nms.connectors.kafka.record import hold, poison_key, read_held, read_record

WAIT_SECONDS = 0.5
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 15.0
KEEP_SECONDS = 60.0
SLICE = 200


class TopicSource:
    """Reads one topic a dataset, all partitions of it, without a consumer group: the pipeline's lease says who reads.

    Nothing is committed to the cluster: where to go on stands in the target's transaction, so that a batch that was
    written is never read again, and one that was not is. What transactions of producers aborted is not seen.
    """

    def __init__(self, access: Access, spec: FeedSpec, limits: Limits) -> None:
        self._access = access
        self._spec = spec
        self._limits = limits
        self._place = int(spec.start.get("place", 0))
        self._consumer = AIOKafkaConsumer(
            **options(access, name=f"nms-{spec.pipeline}"),
            auto_offset_reset="none",
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_bytes=limits.fetch_bytes,
            max_partition_fetch_bytes=min(1 << 20, limits.fetch_bytes),
        )
        self._next: Offsets = {}
        self._kept: Offsets = {}
        self._ends: dict[Partition, int] = {}
        self._kept_at = self._looked_at = time.monotonic()

    @classmethod
    async def open(cls, access: Access, spec: FeedSpec, limits: Limits | None = None) -> "TopicSource":
        """Connect and find where to begin; raises a Problem, such as TopicMissing and OffsetLost."""
        made = cls(access, spec, limits or Limits())
        await begin(made._consumer, access)
        try:
            made._kept = read_offsets(spec.start, spec.shapes)
            await made._seek(made._kept, copy=spec.copy)
        except BaseException:
            await made.close()
            raise
        return made

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What has arrived, as batches; raises the Problem that ended the reading."""
        if not self._spec.copy and self._next != self._kept:
            # Kept before anything arrives: else a restart would pass over what came meanwhile.
            yield self._batch([])
        while True:
            records = await self._poll()
            if records:
                yield self._batch(records)
            if time.monotonic() - self._looked_at > LOOK_SECONDS:
                await self._look()
                if self._next != self._kept and time.monotonic() - self._kept_at > KEEP_SECONDS:
                    # Marks of transactions move offsets too; retention may remove them behind a place kept long ago.
                    yield self._batch([])

    async def confirm(self, position: Position) -> None:
        """Nothing to tell: the target alone keeps the offsets."""

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a message that was held; raises a MessageUnreadable."""
        return read_held(body, self._spec.shapes[dataset], limit=self._limits.message_bytes)

    def facts(self) -> dict[str, Any]:
        """By topic its partitions and the messages that are not read yet, as last seen."""
        topics = {name: {"partitions": 0, "behind": 0} for name in self._spec.shapes}
        for partition, offset in self._next.items():
            shown = topics[partition[0]]
            shown["partitions"] += 1
            shown["behind"] += max(self._ends.get(partition, 0) - offset, 0)
        return {"topics": topics, "behind_messages": sum(topic["behind"] for topic in topics.values())}

    async def close(self) -> None:
        """End the connections; safe to call twice."""
        await end(self._consumer)

    # -- where to read

    async def _seek(self, kept: Offsets, *, copy: bool) -> None:
        """Read all partitions that there are from what was kept; raises OffsetLost and TopicReplaced."""
        found = await list_partitions(self._consumer._client, self._access, self._spec.shapes)
        all_of = [TopicPartition(topic, number) for topic, numbers in found.items() for number in numbers]
        first = await within(self._consumer.beginning_offsets(all_of), self._access)
        self._ends = await within(self._consumer.end_offsets(all_of), self._access)
        self._next = find_start(kept, first, self._ends, copy=copy)
        # Nothing may be awaited in between: a partition without a place is an error to the driver.
        self._consumer.assign(all_of)
        for partition, offset in self._next.items():
            self._consumer.seek(TopicPartition(*partition), offset)
        self._looked_at = time.monotonic()

    async def _look(self) -> None:
        """Ask where the topics end, so that a cluster that is away is noticed; take up new partitions."""
        found = known_partitions(self._consumer._client, self._spec.shapes)
        for topic, numbers in found.items():
            if not numbers:
                raise missing(topic, self._access)
        if {(topic, number) for topic, numbers in found.items() for number in numbers} - self._next.keys():
            await self._seek(self._next, copy=True)
        partitions = self._consumer.assignment()
        self._ends = await within(self._consumer.end_offsets(partitions), self._access, seconds=ANSWER_SECONDS)
        await self._note(partitions)
        self._looked_at = time.monotonic()

    async def _note(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._next[tuple(partition)] = await within(self._consumer.position(partition), self._access)

    # -- what arrived

    async def _poll(self) -> list[ConsumerRecord]:
        """What has arrived, bounded by count and bytes; nothing after a while in which nothing came."""
        records: list[ConsumerRecord] = []
        size, timeout = 0, int(WAIT_SECONDS * 1000)
        while len(records) < self._limits.batch_messages and size < self._limits.batch_bytes:
            room = min(SLICE, self._limits.batch_messages - len(records))
            try:
                got = await within(self._consumer.getmany(timeout_ms=timeout, max_records=room), self._access)
            except Problem as problem:
                if not isinstance(problem.__cause__, OffsetOutOfRangeError):
                    raise
                # Says which end was overstepped; a leader that is new may have been wrong.
                await self._seek(self._next, copy=True)
                break
            if not got:
                break
            for part in got.values():
                records += part
                size += sum(len(record.value or b"") for record in part)
            await self._note(got)
            timeout = 0
        return records

    def _batch(self, records: Sequence[ConsumerRecord]) -> Batch:
        changes: list[Change] = []
        poison: list[Poison] = []
        ends: list[tuple[int, int]] = []
        for record in records:
            shape = self._spec.shapes[record.topic]
            try:
                read = read_record(record.key, record.value, shape, limit=self._limits.message_bytes)
            except MessageUnreadable as problem:
                poison.append(self._poison(record, problem))
            else:
                changes += read
                ends.append((len(read), _place_of(record)))
        self._place += 1
        self._kept, self._kept_at = dict(self._next), time.monotonic()
        times = [record.timestamp for record in records if record.timestamp > 0]
        return Batch(
            {"generation": self._spec.generation, "place": self._place, "offsets": write_offsets(self._next)},
            lambda: _parts(changes),
            changes=len(changes),
            transactions=len(records),
            committed=max(times) / 1000 if times else None,
            place=self._place,
            # Without messages there is something to write all the same: where to go on.
            small=changes if records else None,
            ends=ends,
            poison=poison,
        )

    def _poison(self, record: ConsumerRecord, problem: MessageUnreadable) -> Poison:
        body = hold(record.key, record.value, limit=self._limits.message_bytes)
        name = poison_key(f"{record.topic}/{record.partition}@{record.offset}", record.key, record.value)
        return Poison(record.topic, name, body, problem)


def _place_of(record: ConsumerRecord) -> int:
    """A number for a message that no other of its topic has, and that grows within its partition."""
    return int(record.partition) << 56 | int(record.offset)


async def _parts(changes: Sequence[Change]) -> AsyncIterator[Part]:
    if changes:
        yield changes
