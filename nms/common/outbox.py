"""The outbox: events written in the transaction of the data they speak of, and the log that subscribers read.

A committed event gets its place in the log (`position`) by `stamp`, one stamper at a time. Places become visible in
order, so that a cursor passes nothing by; and an event that was put after another's commit stands behind it. A
horizon of transaction ids gives neither: it waits for every open transaction of the cluster, and its order is that
of their beginnings.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from nms.common.db.queries import load
from nms.common.db.repositories import BaseRepository
from nms.common.event import Envelope, Event

queries = load("nms.common")

CHANNEL = "nms_outbox"
STAMP_SIZE = 1000
KEEP_SECONDS = 7 * 86400.0
SEEN_SECONDS = 2 * KEEP_SECONDS
"""Longer than events are kept, so that a replay of all that is kept finds what was handled."""
PURGE_SIZE = 5000


async def put(tx: BaseRepository, event: Event) -> UUID:
    """Write an event in the caller's transaction; it is sent after the commit, and never without it."""
    identity: UUID = await queries.insert_outbox(
        tx.connection,
        type=event.type,
        version=event.version,
        key=event.key,
        payload=event.model_dump(mode="json"),
    )
    return identity


async def stamp(outbox: BaseRepository) -> None:
    """Give every committed event its place in the log."""
    while await queries.stamp_outbox(outbox.connection, size=STAMP_SIZE) == STAMP_SIZE:
        pass


async def read(tx: BaseRepository, position: int, types: Sequence[str], size: int) -> list[tuple[int, Envelope]]:
    """The next events of these types behind a position, in order; `room.*` stands for a room, `*` for all."""
    rows = await queries.list_outbox(tx.connection, position=position, types=list(types), size=size)
    return [(row["position"], envelope_of(row)) for row in rows]


def envelope_of(row: Any) -> Envelope:
    """The envelope of an outbox row."""
    return Envelope(
        id=row["event_id"],
        type=row["type"],
        version=row["version"],
        key=row["key"],
        payload=row["payload"],
        created_at=row["created_at"],
    )


async def lag(outbox: BaseRepository, subscriber: str) -> int:
    """How many events a subscriber (or the relay) has not read yet."""
    count: int = await queries.count_outbox_lag(outbox.connection, name=subscriber)
    return count


async def tidy(repository: BaseRepository) -> None:
    """Delete what every subscriber has read and nobody needs for a replay."""
    while await queries.delete_outbox(repository.connection, age=KEEP_SECONDS, size=PURGE_SIZE) == PURGE_SIZE:
        pass
    while await queries.delete_seen(repository.connection, age=SEEN_SECONDS, size=PURGE_SIZE) == PURGE_SIZE:
        pass
