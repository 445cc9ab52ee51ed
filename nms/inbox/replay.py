"""Replays: events that somebody wants passed on once more, counted first or ordered as a run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field

from nms.common.configuration import current_documents
from nms.common.run import Order, Run, RunExists, Unique, place_order
from nms.common.tasks import Task
from nms.inbox.problems import EndpointUnknown
from nms.inbox.repository import InboxRepository, queries
from nms.inbox.selection import Selection, holds

KIND: Final = "replay"
PIECE: Final = 200
PIECE_BYTES: Final = 1 << 20
"""Bodies that are looked at without a pause: what arrives meanwhile must not wait for them."""
COUNT_PIECE: Final = 50_000
COUNT_PIECES: Final = 20
"""Pieces that are looked at before a count is answered: a million events, or four thousand bodies."""


@dataclass(frozen=True, slots=True)
class Found:
    """An event that a replay may pass on; without its body where nobody asked for it."""

    number: int
    id: UUID
    received_at: datetime
    body: bytes | None


class ReplayRepository(InboxRepository):
    """Events that are looked for to be passed on once more, by the span (after, upto) of their numbers."""

    async def has_events(self, endpoint: str) -> bool:
        """Whether anything came to an endpoint that is still known."""
        return bool(await queries.get_receipt_of(self.connection, endpoint=endpoint))

    async def get_sent_number(self) -> int:
        """Up to this number events were passed on to RabbitMQ."""
        return int(await queries.get_sent_number(self.connection))

    async def get_last_number(self) -> int:
        """The greatest number that any event has, or will have that is acknowledged by now."""
        return int(await queries.get_last_number(self.connection))

    async def count_matching(self, wanted: Selection, span: tuple[int, int], size: int) -> tuple[int, int | None]:
        """How many of the next events are wanted, `size` at most, and the number of the last; bodies are not read."""
        row = await queries.count_matching(
            self.connection,
            endpoint=wanted.endpoint,
            type=wanted.type,
            ids=wanted.ids,
            since=wanted.since,
            until=wanted.until,
            after=span[0],
            upto=span[1],
            size=size,
        )
        return row["count"], row["last"]

    async def list_matching(
        self, wanted: Selection, span: tuple[int, int], size: int, bytes_: int | None
    ) -> list[Found]:
        """The next events that are wanted, in order; with their bodies up to so many bytes, or without any."""
        rows = await queries.list_matching(
            self.connection,
            endpoint=wanted.endpoint,
            type=wanted.type,
            ids=wanted.ids,
            since=wanted.since,
            until=wanted.until,
            after=span[0],
            upto=span[1],
            size=size,
            bytes=bytes_,
        )
        return [Found(**row) for row in rows]

    async def insert_again(self, run: int, endpoint: str, events: Sequence[Found]) -> None:
        """Pass events on once more, in this order, under new numbers; to be called in a transaction."""
        if not events:
            return
        await queries.get_begun(self.connection)
        await queries.insert_again(
            self.connection,
            run=run,
            endpoint=endpoint,
            ids=[one.id for one in events],
            times=[one.received_at for one in events],
        )


class ReplayOrder(Selection):
    """Which events are to be passed on once more, and how."""

    rate: Annotated[
        float | None, Field(gt=0, le=1_000_000, description="Events per second; else as fast as the database stores.")
    ] = None
    dry_run: Annotated[bool, Field(description="Count what would be passed on, and pass nothing on.")] = False
    unique: Annotated[
        Unique,
        Field(
            description="While the endpoint has a replay: `reject` answers 409, `existing` shows that one, `one_more` "
            "starts behind it."
        ),
    ] = Unique.REJECT

    def selection(self) -> Selection:
        """What it says of the events."""
        return Selection(**{name: getattr(self, name) for name in Selection.model_fields})


class Counted(BaseModel):
    """What a replay would pass on."""

    count: int = Field(description="Events that match, of those that were looked at.")
    looked_at: int
    exact: bool = Field(description="Whether all events were looked at; else `count` is the least that match.")


class Replay(Task):
    """A replay: the run, and what was asked for."""

    endpoint: str
    asked: dict[str, Any] = Field(description="What the order said of the events.")
    rate: float | None = Field(None, description="Events per second.")

    @classmethod
    def of(cls, run: Run) -> Self:
        """A replay from its run."""
        task = {name: getattr(run, name) for name in Task.model_fields}
        return cls(**task, endpoint=run.subject, asked=run.payload["asked"], rate=run.payload["rate"])


class Span(BaseModel):
    """Numbers of events: those behind `after`, up to `upto`."""

    after: int
    upto: int


async def order_replay(repository: ReplayRepository, order: ReplayOrder, *, relayed: bool = False) -> Run:
    """Order the run; raises EndpointUnknown, and RunExists while the endpoint has another one."""
    await check_endpoint(repository, order.endpoint)
    span = await find_span(repository, order, relayed=relayed)
    payload = {
        "asked": order.selection().model_dump(mode="json", exclude_none=True),
        "rate": order.rate,
        "span": span.model_dump(),
    }
    async with repository.transaction() as tx:
        run = await place_order(tx, Order(KIND, order.endpoint, payload, order.unique))
    if order.unique is Unique.ONE_MORE and run.payload["asked"] != payload["asked"]:
        raise RunExists(f"Another replay of {order.endpoint} waits already, and it asks for other events.", run=run.id)
    return run


async def count_replay(repository: ReplayRepository, order: ReplayOrder, *, relayed: bool = False) -> Counted:
    """Count what a replay would pass on, up to a bound; raises EndpointUnknown."""
    await check_endpoint(repository, order.endpoint)
    span = await find_span(repository, order, relayed=relayed)
    count = looked_at = 0
    for _ in range(COUNT_PIECES):
        matching, looked, last = await _count_piece(repository, order, span)
        count, looked_at = count + matching, looked_at + looked
        if last is None:
            return Counted(count=count, looked_at=looked_at, exact=True)
        span.after = last
    return Counted(count=count, looked_at=looked_at, exact=False)


async def find_matching(found: list[Found], condition: str | None) -> list[Found]:
    """Those of whose bodies the condition is true; in a thread of its own, so that nobody waits for it."""
    if condition is None or not found:
        return found
    return await asyncio.to_thread(_match, found, condition)


async def check_endpoint(repository: ReplayRepository, name: str) -> None:
    """Raise EndpointUnknown for a name that no document has and no event came to."""
    if await repository.has_events(name):
        return
    if name not in (await current_documents(repository)).endpoints:
        raise EndpointUnknown(f"There is no endpoint {name[:100]}, and nothing ever came to one.", endpoint=name)


async def find_span(repository: ReplayRepository, wanted: Selection, *, relayed: bool) -> Span:
    """The numbers of the events that there are now, of a status if one is asked for; what comes later is no part."""
    last = await repository.get_last_number()
    if wanted.status is None or (wanted.status == "stored" and not relayed):
        return Span(after=0, upto=last)
    if wanted.status == "stored" or not relayed:
        return Span(after=last, upto=last)
    sent = min(await repository.get_sent_number(), last)
    return Span(after=sent, upto=last) if wanted.status == "waiting" else Span(after=0, upto=sent)


async def _count_piece(repository: ReplayRepository, order: Selection, span: Span) -> tuple[int, int, int | None]:
    """How many match of the next ones, of how many; and the last one's number, None where no more can be there."""
    if order.path is None:
        count, last = await repository.count_matching(order, (span.after, span.upto), COUNT_PIECE)
        return count, count, last if count == COUNT_PIECE else None
    found = await repository.list_matching(order, (span.after, span.upto), PIECE, PIECE_BYTES)
    matching = await find_matching(found, order.path)
    return len(matching), len(found), found[-1].number if found else None


def _match(found: list[Found], condition: str) -> list[Found]:
    return [one for one in found if holds(condition, one.body or b"")]
