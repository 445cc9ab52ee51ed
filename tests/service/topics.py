"""Topics in tests: producers and consumers of their own, a feed into a table, an outlet that keeps its place."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from nms.common.change import Change, Column, Op, Shape, frame
from nms.common.flow import Batch, FeedSpec, OutletSpec, Part, Poison, Position
from nms.connectors.kafka.config import Access, Limits
from nms.connectors.kafka.source import TopicSource
from nms.connectors.kafka.target import TopicTarget
from nms.connectors.postgres import libpq
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.target import Fence, PostgresTarget
from nms.connectors.postgres.writer import Writer
from tests.services.kafka import KafkaServer
from tests.waiting import eventually

PREPARE = Path(__file__).parents[2] / "nms/connectors/postgres/prepare.sql"
TABLE = "create table item (id bigint primary key, name text, price numeric, extra jsonb)"
COLUMNS = (Column("id", "bigint"), Column("name", "text"), Column("price", "numeric"), Column("extra", "jsonb"))
ROWS = "select id, name from item order by id"


def shape_of(topic: str) -> Shape:
    """The dataset of a topic, as its target has it."""
    return Shape(topic, COLUMNS, (0,))


def access_to(kafka: KafkaServer) -> Access:
    """How the connector reaches the cluster."""
    return Access("cluster", tuple(kafka.servers))


async def send(kafka: KafkaServer, topic: str, messages: Iterable[Any], partition: int | None = None) -> None:
    """Put messages into a topic: values, or pairs of key and value; bytes and None as they are, the rest as JSON."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers, max_request_size=1 << 30) as producer:
        pairs = [one if isinstance(one, tuple) else (None, one) for one in messages]
        sent = [
            await producer.send(topic, _bytes(value), key=_bytes(key) or None, partition=partition)
            for key, value in pairs
        ]
        await asyncio.gather(*sent)


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else json.dumps(value).encode()


@dataclass
class Feed:
    """A topic on its way into a table, opened anew whenever something passes."""

    kafka: KafkaServer
    dsn: str
    topic: str
    limits: Limits = field(default_factory=Limits)
    copy: bool = True
    poison: list[Poison] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    before_apply: Callable[[], None] = lambda: None
    after_apply: Callable[[], None] = lambda: None

    async def prepare(self) -> None:
        """Make table and position."""
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(PREPARE.read_text())
        await connection.execute(TABLE)
        await connection.close()

    async def rows(self, sql: str = ROWS) -> list[tuple[Any, ...]]:
        """What the database answers."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    async def offsets(self) -> dict[str, int]:
        """The offsets that the target keeps."""
        rows = await self.rows("select position::text from nms.position where pipeline = 'feed' and position notnull")
        return dict(json.loads(rows[0][0])["offsets"]) if rows else {}

    async def move(self) -> None:
        """Move until cancelled or something is wrong."""
        [[epoch, start]] = await self.rows(
            "insert into nms.position as p (pipeline, epoch, source_system) values ('feed', 1, '')"
            " on conflict (pipeline) do update set epoch = p.epoch + 1 returning epoch, position::text"
        )
        position: Position = json.loads(start) if start else {"generation": 1}
        end = await PostgresTarget.open(
            libpq.Access("right", self.dsn), Fence("feed", epoch), self._writer, name="feed-write"
        )
        try:
            spec = FeedSpec("feed", 1, position, {self.topic: shape_of(self.topic)}, self.copy)
            source = await TopicSource.open(access_to(self.kafka), spec, self.limits)
            try:
                await self._move(source, end)
            finally:
                await source.close()
        finally:
            await end.close()

    @asynccontextmanager
    async def moves(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Move in the background of a block; what went wrong is raised at its end."""
        moving = asyncio.create_task(self.move())
        try:
            yield moving
        finally:
            moving.cancel()
            with suppress(asyncio.CancelledError):
                await moving

    async def arrive(self, expected: Sequence[tuple[Any, ...]], sql: str = ROWS) -> None:
        """Wait until the database answers what is expected."""

        async def look() -> bool:
            return await self.rows(sql) == list(expected)

        await eventually(look)

    async def _move(self, source: TopicSource, end: PostgresTarget) -> None:
        async for batch in source.batches():
            self.poison += batch.poison
            self.batches.append(batch)
            self.before_apply()
            await end.apply(batch)
            self.after_apply()
            await source.confirm(batch.position)

    def _writer(self, shape: Shape) -> Writer:
        names = tuple(column.name for column in shape.columns)
        types = tuple(column.type for column in shape.columns)
        table = TargetTable('"item"', names, types, shape.key, True, "nms_stage_0")
        return Writer(0, shape, table, [0] * len(names), heals=True)


@dataclass
class Kept:
    """A store in memory."""

    positions: list[Position] = field(default_factory=list)

    async def load(self) -> Position | None:
        return self.positions[-1] if self.positions else None

    async def save(self, position: Position) -> None:
        self.positions.append(position)


@asynccontextmanager
async def outlet(kafka: KafkaServer, topic: str, store: Kept) -> AsyncIterator[TopicTarget]:
    """A topic that changes of `items` go to."""
    spec = OutletSpec("out", 1, "shop", {"items": topic}, {})
    target = await TopicTarget.open(access_to(kafka), spec, store)
    try:
        yield target
    finally:
        await target.close()


def update(number: int, name: str, op: Op = Op.UPDATE) -> Change:
    """A change of a whole row of `items`."""
    values = (frame(str(number).encode()), frame(name.encode()), frame(b"1.50"), frame(b'{"a": 1}'))
    return Change(ITEMS, op, values[0], values)


ITEMS = shape_of("items")


def batch_of(changes: Sequence[Change], place: int) -> Batch:
    """One transaction."""

    async def parts() -> AsyncIterator[Part]:
        yield changes

    position = {"generation": 1, "lsn": f"0/{place:X}"}
    return Batch(position, parts, len(changes), 1, 1_700_000_000.0, place=place, small=changes, origin=place)


async def collect(kafka: KafkaServer, topic: str, count: int) -> list[ConsumerRecord]:
    """All messages of a topic, partition after partition, once there are so many."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.servers, auto_offset_reset="none")
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        found = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(found)
        for partition in found:
            consumer.seek(partition, 0)
        records: list[ConsumerRecord] = []

        async def look() -> bool:
            ends = await consumer.end_offsets(found)
            while any([await consumer.position(one) < ends[one] for one in found]):
                for part in (await consumer.getmany(timeout_ms=100, max_records=10_000)).values():
                    records.extend(part)
            return len(records) >= count

        await eventually(look)
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()
