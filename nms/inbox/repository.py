"""Statements of events and their receipts, bound to the database `nms`; those of a duty stand with it."""

from collections.abc import Sequence
from uuid import UUID

from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.inbox.arrival import Arrival, KeptRequest, ListRequest, Receipt
from nms.inbox.models import EventFilter, Stored, StoredWhole, read_headers, show_body, status_of

queries = load("nms.inbox")


async def store(arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Commit what is new, over the pool of the process; the pool is made when something arrives."""
    repository = await InboxRepository.open()
    if all(one.request is None for one in arrivals):
        return await repository.store(arrivals)
    async with repository.transaction() as tx:
        return await tx.store(arrivals)


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
        """Commit what is new, and tell for each what became of it; in a transaction where one came with a list."""
        receipts = await self._store_events(arrivals)
        pairs = zip(arrivals, receipts, strict=True)
        whole = {one.request.id: one.request for one, told in pairs if one.request is not None and told.kind == "new"}
        if whole:
            await self._insert_requests(list(whole.values()))
        return receipts

    async def get_request(self, id_: UUID) -> KeptRequest | None:
        """One request that brought a list, as it came."""
        row = await queries.get_request(self.connection, id=id_)
        return None if row is None else KeptRequest(**row)

    async def _insert_requests(self, requests: Sequence[ListRequest]) -> None:
        await queries.insert_requests(
            self.connection,
            ids=[one.id for one in requests],
            endpoints=[one.endpoint for one in requests],
            methods=[one.method for one in requests],
            urls=[one.url for one in requests],
            headers=[one.headers for one in requests],
            bodies=[one.body for one in requests],
            times=[one.arrived for one in requests],
        )

    async def _store_events(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
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
            again = await self._store_events(forgotten)
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

    async def get_settled(self) -> int:
        """Up to this number every event is stored or never will be."""
        return int(await queries.get_settled(self.connection))

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
