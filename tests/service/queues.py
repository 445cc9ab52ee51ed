"""Queues in tests: a broker to declare, send and collect with; a feed into a table; an outlet that keeps its place."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from nms.common.change import Change, Column, Op, Shape, frame
from nms.common.flow import Batch, FeedSpec, OutletSpec, Part, Poison, Position
from nms.connectors.amqp.config import Access, Limits
from nms.connectors.amqp.source import QueueSource
from nms.connectors.amqp.target import ExchangeTarget
from nms.connectors.postgres import libpq
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.target import Fence, PostgresTarget
from nms.connectors.postgres.writer import Writer
from tests.waiting import PATIENCE, eventually

PREPARE = Path(__file__).parents[2] / "nms/connectors/postgres/prepare.sql"
TABLE = "create table item (id bigint primary key, name text, price numeric, extra jsonb)"
SHAPE = Shape(
    "items",
    (Column("id", "bigint"), Column("name", "text"), Column("price", "numeric"), Column("extra", "jsonb")),
    (0,),
)


@dataclass
class Broker:
    """A virtual host of a test, over a connection of its own."""

    channel: AbstractChannel

    @classmethod
    @asynccontextmanager
    async def at(cls, dsn: str) -> AsyncIterator["Broker"]:
        """Connect for the time of a block."""
        connection = await aio_pika.connect(dsn)
        try:
            yield cls(await connection.channel())
        finally:
            with suppress(Exception):
                await connection.close()

    async def declare(
        self, queue: str, exchange: str | None = None, key: str = "#", arguments: dict[str, Any] | None = None
    ) -> None:
        """A durable queue, and a topic exchange whose events it takes."""
        made = await self.channel.declare_queue(queue, durable=True, arguments=arguments)
        if exchange is not None:
            await self.channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
            await made.bind(exchange, key)

    async def send(self, queue: str, messages: Iterable[Any], **properties: Any) -> None:
        """Put messages into a queue: bytes as they are, everything else as JSON."""
        exchange = self.channel.default_exchange
        bodies = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in messages]
        sent = [
            exchange.publish(aio_pika.Message(body, delivery_mode=2, **properties), queue, timeout=60)
            for body in bodies
        ]
        await asyncio.gather(*sent)

    async def ready(self, queue: str) -> int:
        """Messages in a queue that nobody has."""
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


@dataclass
class Feed:
    """Queues on their way into tables of one database, opened anew whenever something passes."""

    access: Access
    dsn: str
    shapes: dict[str, Shape]
    limits: Limits = field(default_factory=Limits)
    poison: list[Poison] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    unconfirmed: bool = False

    async def run(self, *scripts: str) -> None:
        """Run SQL in the database."""
        connection = await asyncpg.connect(self.dsn)
        for script in scripts:
            await connection.execute(script)
        await connection.close()

    async def rows(self, sql: str = "select id, name from item order by id") -> list[tuple[Any, ...]]:
        """What the database answers."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    async def move(self) -> None:
        """Move until cancelled or something is wrong."""
        [[epoch, start]] = await self.rows(
            "insert into nms.position as p (pipeline, epoch, source_system) values ('feed', 1, '')"
            " on conflict (pipeline) do update set epoch = p.epoch + 1 returning epoch, position::text"
        )
        position = json.loads(start) if start else {"generation": 1}
        end = await PostgresTarget.open(
            libpq.Access("right", self.dsn), Fence("feed", epoch), self._writer, name="feed-write"
        )
        try:
            source = await QueueSource.open(self.access, FeedSpec("feed", 1, position, self.shapes), self.limits)
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
            await eventually(self._settled)
        finally:
            moving.cancel()
            with suppress(asyncio.CancelledError):
                await moving

    async def arrive(self, expected: Sequence[tuple[Any, ...]], sql: str = "select id, name from item order by id",
                     seconds: float = PATIENCE) -> None:  # fmt: skip
        """Wait until the database answers what is expected."""

        async def look() -> bool:
            return await self.rows(sql) == list(expected)

        await eventually(look, seconds)

    async def _settled(self) -> bool:
        return not self.unconfirmed

    async def _move(self, source: QueueSource, end: PostgresTarget) -> None:
        async for batch in source.batches():
            self.poison += batch.poison
            self.places.append(batch.place)
            self.sizes.append(batch.changes)
            self.unconfirmed = True
            await end.apply(batch)
            await source.confirm(batch.position)
            self.unconfirmed = False

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
async def outlet(dsn: str, address: str, store: Kept) -> AsyncIterator[ExchangeTarget]:
    """An exchange that changes of `items` go to."""
    spec = OutletSpec("out", 1, "shop", {"items": address}, {})
    target = await ExchangeTarget.open(Access("broker", dsn), spec, store)
    try:
        yield target
    finally:
        await target.close()


@dataclass
class Collected:
    """What a consumer got: ids in the order of first arrival, how often each, and by key the values in that order."""

    ids: dict[str, int] = field(default_factory=dict)
    names: dict[int, list[str]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    sequences: dict[int, str] = field(default_factory=dict)

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Take one message, passing over ids that came before."""
        event = json.loads(message.body)
        assert message.message_id == event["id"]
        self.keys.append(message.routing_key or "")
        self.ids[event["id"]] = self.ids.get(event["id"], 0) + 1
        if self.ids[event["id"]] == 1 and "values" in event["data"]:
            self.names.setdefault(event["data"]["key"]["id"], []).append(event["data"]["values"]["name"])
            self.sequences[event["data"]["key"]["id"]] = event["sequence"]
        await message.ack()


def update(number: int, name: str) -> Change:
    """The update of a whole row."""
    values = (frame(str(number).encode()), frame(name.encode()), frame(b"1.50"), frame(b'{"a": 1}'))
    return Change(SHAPE, Op.UPDATE, values[0], values)


def batch_of(changes: Sequence[Change], place: int) -> Batch:
    """One transaction."""

    async def parts() -> AsyncIterator[Part]:
        yield changes

    position = {"generation": 1, "lsn": f"0/{place:X}"}
    return Batch(position, parts, len(changes), 1, 1_700_000_000.0, place=place, small=changes, origin=place)
