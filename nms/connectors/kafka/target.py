"""Topics as a target: each change is an event, safe with the cluster before the position is kept."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from nms.common import faults
from nms.common.cloudevents import CONTENT_TYPE, Event, EventWriter
from nms.common.flow import Applied, Batch, ChangeRefused, OutletSpec, Store
from nms.common.problem import Problem
from nms.connectors.kafka.client import begin, end, list_partitions, options, within
from nms.connectors.kafka.config import Access
from nms.connectors.kafka.problems import RecordTooLarge

SEND_SECONDS = 30.0
RECORDS_BYTES = 512 << 10
PARTITIONER = DefaultPartitioner()
HEADERS = [("content-type", CONTENT_TYPE.encode())]

Lane = tuple[str, int]
"""A topic and one of its partitions: what goes there goes in order."""


class TopicTarget:
    """Sends each change as an event with its key, so that all of a key stand in one partition, in order.

    To a partition goes one request at a time, and the next one only when that is safe on all replicas in sync: nothing
    overtakes what failed. A batch that could not be finished is sent again whole, with the same ids: at least once,
    told apart by id.
    """

    def __init__(self, access: Access, spec: OutletSpec, store: Store) -> None:
        self._access = access
        self._spec = spec
        self._store = store
        self._events = EventWriter(spec.source, spec.pipeline, spec.fields)
        self._partitions: dict[str, list[int]] = {}
        self._producer: AIOKafkaProducer | None = None
        self._singly = False

    @classmethod
    async def open(cls, access: Access, spec: OutletSpec, store: Store) -> "TopicTarget":
        """Connect; raises a Problem, also when a topic does not exist."""
        made = cls(access, spec, store)
        await made._connect()
        return made

    async def apply(self, batch: Batch) -> Applied:
        """Send a batch and keep its position once all of it is safe; raises ChangeRefused or a Problem."""
        try:
            count = await self._send_all(batch)
        except RecordTooLarge:
            # Too large may be what was sent together: one by one it is seen which change it is.
            self._singly = True
            count = await self._send_all(batch)
        self._singly = False
        faults.point("outlet.before_save")
        await self._store.save(batch.position)
        return Applied(batch.position, changes=count, rows=count)

    async def close(self) -> None:
        """End the connections; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await end(producer)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **options(self._access, name=f"nms-{self._spec.pipeline}"),
            enable_idempotence=True,
            acks="all",
            max_batch_size=RECORDS_BYTES,
        )
        await begin(producer, self._access)
        self._producer = producer
        try:
            self._partitions = await list_partitions(producer.client, self._access, set(self._spec.addresses.values()))
        except BaseException:
            await self.close()
            raise
        return producer

    async def _send_all(self, batch: Batch) -> int:
        producer = self._producer or await self._connect()
        count = 0
        try:
            async for events in self._events.events(batch):
                for run in _runs(events):
                    await self._send(producer, run)
                count += len(events)
        except BaseException:
            # What it has not sent must never go out behind what is sent again.
            await self.close()
            raise
        return count

    async def _send(self, producer: AIOKafkaProducer, events: Iterable[Event]) -> None:
        """Send events, those of different partitions side by side."""
        lanes: dict[Lane, deque[tuple[bytes | None, Event]]] = defaultdict(deque)
        for event in events:
            key = self._events.key_of(event.change)
            lanes[self._lane(event, key)].append((key, event))
        sending = [asyncio.ensure_future(self._send_lane(producer, lane, line)) for lane, line in lanes.items()]
        try:
            await asyncio.gather(*sending)
        finally:
            for one in sending:
                one.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    def _lane(self, event: Event, key: bytes | None) -> Lane:
        dataset = event.change.shape.dataset
        topic = self._spec.addresses[dataset]
        partitions = self._partitions[topic]
        # What has no key is kept in order as a whole.
        return topic, PARTITIONER(key or dataset.encode(), partitions, partitions)

    async def _send_lane(self, producer: AIOKafkaProducer, lane: Lane, line: deque[tuple[bytes | None, Event]]) -> None:
        while line:
            records = producer.create_batch()
            last = line[0][1]
            while line and records.append(timestamp=None, key=line[0][0], value=line[0][1].body, headers=HEADERS):
                last = line.popleft()[1]
                if self._singly:
                    break
            records.close()
            await self._send_records(producer, lane, records, last)

    async def _send_records(self, producer: AIOKafkaProducer, lane: Lane, records: BatchBuilder, last: Event) -> None:
        topic, _ = lane
        try:
            await within(_deliver(producer, lane, records), self._access, seconds=SEND_SECONDS)
        except Problem as problem:
            if not isinstance(problem.__cause__, (MessageSizeTooLargeError, RecordListTooLargeError)):
                raise
            text = f"an event of {last.change.shape.dataset} with {len(last.body)} bytes is too large for topic {topic}"
            refused = RecordTooLarge(text, topic=topic, size=len(last.body))
            if self._singly:
                raise ChangeRefused(last.change, refused) from problem
            raise refused from problem


async def _deliver(producer: AIOKafkaProducer, lane: Lane, records: BatchBuilder) -> None:
    topic, partition = lane
    delivered = await producer.send_batch(records, topic, partition=partition)
    await delivered


def _runs(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Events cut around those that concern more than one key: what is before them is safe first."""
    begin_at = 0
    for at, event in enumerate(events):
        if event.change.barrier:
            yield events[begin_at:at]
            yield events[at : at + 1]
            begin_at = at + 1
    yield events[begin_at:]
