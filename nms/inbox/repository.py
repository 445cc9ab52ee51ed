"""Statements of the inbox room, bound to the database `nms`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.inbox.arrival import Arrival, Receipt, Unsent
from nms.inbox.models import (
    EventFilter,
    QuarantineCount,
    Quarantined,
    QuarantineFilter,
    Stored,
    StoredWhole,
    Verification,
    read_headers,
    show_body,
    status_of,
)
from nms.inbox.refused import Held
from nms.inbox.selection import Selection

queries = load("nms.inbox")


async def store(arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Commit what is new, over the pool of the process; the pool is made when something arrives."""
    return await (await InboxRepository.open()).store(arrivals)


async def store_whole(arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Commit what is new of a list, or nothing of it where one is another body under a known key."""
    try:
        async with (await InboxRepository.open()).transaction() as tx:
            receipts = await tx.store(arrivals)
            if any(one.kind == "other" for one in receipts):
                raise _ListClashed(receipts)
            return receipts
    except _ListClashed as clash:
        return clash.receipts


class _ListClashed(Exception):
    """Leaves a transaction of which nothing is to be kept."""

    def __init__(self, receipts: list[Receipt]) -> None:
        super().__init__()
        self.receipts = receipts


class InboxRepository(BaseNmsRepository):
    """Events and their receipts."""

    async def store(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """Commit what is new, and tell for each what became of it."""
        rows = await queries.insert_events(
            self.connection,
            ids=[one.id for one in arrivals],
            endpoints=[one.endpoint for one in arrivals],
            keys=[one.key for one in arrivals],
            digests=[one.digest for one in arrivals],
            types=[one.type for one in arrivals],
            items=[one.item for one in arrivals],
            content_types=[one.content_type for one in arrivals],
            headers=[one.headers for one in arrivals],
            bodies=[one.body for one in arrivals],
        )
        if len(rows) == len(arrivals):
            return [Receipt(one.id, "new") for one in arrivals]
        fresh = {row["event_id"] for row in rows}
        known = await self._list_known([one for one in arrivals if one.id not in fresh])
        found = {one.id: Receipt(one.id, "new") for one in arrivals if one.id in fresh} | known
        forgotten = [one for one in arrivals if one.id not in found]
        if forgotten:
            # Their receipts were deleted for their age between the two statements.
            again = await self.store(forgotten)
            found |= {one.id: receipt for one, receipt in zip(forgotten, again, strict=True)}
        return [found[one.id] for one in arrivals]

    async def list_events(
        self, wanted: EventFilter, keys: Sequence[bytes] | None, page: tuple[int | None, int], *, relayed: bool
    ) -> list[Stored]:
        """Events of numbers before another one, so many, the newest first; of these keys only, where there are any.

        `relayed` is whether there is a RabbitMQ.
        """
        if wanted.status is not None and (wanted.status == "stored") is relayed:
            return []
        rows = await queries.list_events(
            self.connection,
            endpoint=wanted.endpoint,
            type=wanted.type,
            keys=keys,
            since=wanted.since,
            until=wanted.until,
            status=wanted.status,
            before=page[0],
            size=page[1],
        )
        return [Stored(**row, status=status_of(row["sent"], relayed=relayed)) for row in rows]

    async def get_event(self, id_: UUID, *, relayed: bool) -> StoredWhole | None:
        """One event with its content; `relayed` is whether there is a RabbitMQ."""
        row = await queries.get_event(self.connection, id=id_)
        if row is None:
            return None
        encoding, body = show_body(row["body"])
        headers, status = read_headers(row["headers"]), status_of(row["sent"], relayed=relayed)
        return StoredWhole(**{**row, "headers": headers, "encoding": encoding, "body": body, "status": status})

    async def make_days(self, ahead: int) -> int:
        """Make the partitions of today and of so many days ahead; gives how many were missing."""
        return int(await queries.insert_days(self.connection, ahead=ahead))

    async def note_keeps(self, keeps: Mapping[str, float], grace: float) -> float | None:
        """Note how many seconds endpoints keep; gives the most, one that was taken out counting for `grace` more."""
        longest: float | None = await queries.upsert_kept(
            self.connection, endpoints=list(keeps), keeps=list(keeps.values()), grace=grace
        )
        return longest

    async def drop_day(self, kept: float) -> bool:
        """Drop the oldest day that ended so many seconds ago; tells whether there was one."""
        return bool(await queries.delete_day(self.connection, kept=kept))

    async def delete_old_receipts(self, kept: float, size: int) -> int:
        """Delete receipts of such days, so many at a time; gives how many."""
        return int(await queries.delete_old_receipts(self.connection, kept=kept, size=size))

    async def claim_relay(self) -> int | None:
        """How far events were passed on, held until the transaction ends; None where another process holds it."""
        number: int | None = await queries.claim_relay(self.connection)
        return number

    async def claim_mark(self) -> None:
        """Be the only process that looks for the relay's mark, until the transaction ends."""
        await queries.claim_mark(self.connection)

    async def get_settled(self) -> int:
        """Up to this number every event is stored or never will be."""
        return int(await queries.get_settled(self.connection))

    async def list_unsent(self, after: int, upto: int, size: int, most: int) -> list[Unsent]:
        """The next events behind a number, in order: so many, and no more once their bodies have so many bytes."""
        rows = await queries.list_unsent(self.connection, after=after, upto=upto, size=size, most=most)
        return [Unsent(**row) for row in rows]

    async def get_dropped(self) -> int:
        """Up to which number events were dropped for their age; 0: none were."""
        return int(await queries.get_dropped(self.connection))

    async def move_relay(self, number: int) -> None:
        """Keep that events were passed on up to a number; 0: nothing was."""
        await queries.update_relay(self.connection, number=number)

    async def get_relay_lag(self) -> int:
        """How many numbers the relay is behind."""
        return int(await queries.get_relay_lag(self.connection))

    async def delete_old_again(self, kept: float, size: int) -> int:
        """Forget that events of such days were replayed, so many at a time; gives how many."""
        return int(await queries.delete_old_again(self.connection, kept=kept, size=size))

    async def _list_known(self, arrivals: Sequence[Arrival]) -> dict[UUID, Receipt]:
        if not arrivals:
            return {}
        rows = await queries.list_receipts(
            self.connection, endpoints=[one.endpoint for one in arrivals], keys=[one.key for one in arrivals]
        )
        first = {(row["endpoint"], row["key"]): (row["event_id"], row["digest"]) for row in rows}
        found: dict[UUID, Receipt] = {}
        for one in arrivals:
            if (one.endpoint, one.key) in first:
                id_, digest = first[one.endpoint, one.key]
                found[one.id] = Receipt(id_, "known" if digest == one.digest else "other")
        return found


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


class QuarantineRepository(InboxRepository):
    """Refused requests, and events beside them."""

    async def claim_writing(self) -> None:
        """Wait until no other process writes to the quarantine; until the end of the transaction."""
        await queries.claim_quarantine(self.connection)

    async def insert_refused(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep refused requests: `id`, `facts` as JSON, `headers`, `sealed`, `body` of each."""
        await queries.insert_quarantined(
            self.connection,
            ids=[row["id"] for row in rows],
            facts=[row["facts"] for row in rows],
            headers=[row["headers"] for row in rows],
            sealed=[row["sealed"] for row in rows],
            bodies=[row["body"] for row in rows],
        )

    async def delete_beyond(self, pile: tuple[str, str], most: int, size: int) -> int:
        """Delete the oldest of an endpoint and standing beyond a number and bytes; gives how many."""
        return int(
            await queries.delete_beyond(self.connection, endpoint=pile[0], standing=pile[1], most=most, bytes=size)
        )

    async def add_counts(self, pile: tuple[str, str], came: int, lost: int) -> None:
        """Add to how many of an endpoint and standing were refused, and were lost."""
        await queries.upsert_quarantine_count(self.connection, endpoint=pile[0], standing=pile[1], came=came, lost=lost)

    async def delete_aged(self, age: float, pause: float) -> int:
        """Delete requests and counts older than seconds, and what holds back the telling; gives how many requests."""
        await queries.delete_aged_reuse(self.connection, age=pause)
        await queries.delete_aged_counts(self.connection, age=age)
        return int(await queries.delete_aged_quarantine(self.connection, age=age))

    async def claim_telling(self, arrival: Arrival, pause: float, most: int) -> bool:
        """Whether it may be told that an id came with another body; then it may not again for a pause."""
        told = await queries.claim_reuse(
            self.connection, endpoint=arrival.endpoint, key=arrival.key, pause=pause, most=most
        )
        return bool(told)

    async def get_first(self, arrival: Arrival) -> tuple[UUID, bytes] | None:
        """Id and digest of the event that has the key of an arrival."""
        rows = await queries.list_receipts(self.connection, endpoints=[arrival.endpoint], keys=[arrival.key])
        return next(((row["event_id"], row["digest"]) for row in rows), None)

    async def list_quarantined(self, wanted: QuarantineFilter, before: int | None, size: int) -> list[Quarantined]:
        """Requests that were refused before another one, the newest first."""
        rows = await queries.list_quarantined(
            self.connection,
            endpoint=wanted.endpoint,
            code=wanted.code,
            since=wanted.since,
            before=before,
            size=size,
        )
        return [Quarantined(**row) for row in rows]

    async def list_quarantined_ids(self, wanted: Verification, size: int) -> list[tuple[int, UUID]]:
        """Numbers and ids of such requests, the oldest first."""
        rows = await queries.list_quarantined_ids(
            self.connection,
            endpoint=wanted.endpoint,
            code=wanted.code,
            since=wanted.since,
            after=wanted.after,
            size=size,
        )
        return [(row["number"], row["id"]) for row in rows]

    async def list_counts(self, after: tuple[str, str] | None, size: int) -> list[QuarantineCount]:
        """What every endpoint refused, by standing, behind an endpoint and standing."""
        endpoint, standing = after or (None, None)
        rows = await queries.list_quarantine_counts(self.connection, endpoint=endpoint, standing=standing, size=size)
        return [QuarantineCount(**row) for row in rows]

    async def get_quarantined(self, id_: UUID) -> Held | None:
        """One request with all that is kept of it."""
        row = await queries.get_quarantined(self.connection, id=id_)
        return None if row is None else Held(**row)

    async def claim_quarantined(self, id_: UUID) -> bool:
        """Whether a request is there; nobody else settles it until the end of the transaction."""
        return await queries.claim_quarantined(self.connection, id=id_) is not None

    async def delete_quarantined(self, id_: UUID) -> bool:
        """Delete a request; tells whether it was there."""
        return bool(await queries.delete_quarantined(self.connection, id=id_))

    async def foresee(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """What would become of arrivals if they were stored now."""
        known = await self._list_known(arrivals)
        return [known.get(one.id) or Receipt(one.id, "new") for one in arrivals]
