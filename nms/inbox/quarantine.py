"""Refused requests on their way to the table: noted in memory within bounds, written apart from any answer."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from nms.common import metrics, outbox
from nms.common.problem import Problem, Retry
from nms.common.seal import Sealer
from nms.common.waiting import first_of
from nms.events.inbox import IdReused
from nms.inbox.arrival import Arrival, Receipt, storable
from nms.inbox.credential import seal, shown_headers, shown_url
from nms.inbox.models import QuarantineCount, Quarantined, QuarantineFilter, Verification
from nms.inbox.refused import Held, Refused, Seen, Standing
from nms.inbox.repository import InboxRepository, queries

log = logging.getLogger(__name__)

MIB: Final = 1 << 20
PAUSE_SECONDS: Final = 1.0
"""Between two writes: a flood shares them, and cannot keep the disk busy."""
AWAY_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 600.0
"""Between looks at what is too old."""
LEAVE_SECONDS: Final = 3.0
KEEP_SECONDS: Final = 7 * 86_400.0
TELL_SECONDS: Final = 600.0
MOST_TOLD: Final = 20
"""Ids of an endpoint that are told in such a time to have come with another body."""
MOST_ROWS: Final = 50
MOST_BYTES: Final = 1 << 20
"""Of one statement, so that none keeps the others of this process waiting for long."""

Pile = tuple[str, Standing]
"""What is bounded together: requests of one standing at one endpoint."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What is kept of a standing: of each endpoint in memory and in the table, and of all endpoints in memory."""

    noted: int
    noted_bytes: int
    all_bytes: int
    kept: int
    kept_bytes: int


# Any body fits that an endpoint takes (MOST_LARGEST), but none of strangers that are as large.
BOUNDS: Final[Mapping[Standing, Bound]] = {
    "believed": Bound(200, 9 * MIB, 36 * MIB, 1_000, 64 * MIB),
    "signed": Bound(200, 9 * MIB, 36 * MIB, 1_000, 64 * MIB),
    "bare": Bound(50, 2 * MIB, 8 * MIB, 100, 4 * MIB),
}

_came = metrics.Counter("nms_inbox_refused_total", "Refused webhooks", ("endpoint", "code"))
_lost = metrics.Counter("nms_inbox_refused_lost_total", "Refused webhooks that were not kept", ("endpoint", "standing"))


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


@dataclass(slots=True)
class Notes:
    """Refused requests that wait to be written, and how many came and were lost since the last write."""

    noted: list[Refused] = field(default_factory=list)
    came: Counter[Pile] = field(default_factory=Counter)
    lost: Counter[Pile] = field(default_factory=Counter)
    _counts: Counter[Pile] = field(default_factory=Counter)
    _sizes: Counter[Pile] = field(default_factory=Counter)
    _totals: Counter[Standing] = field(default_factory=Counter)

    def add(self, refused: Refused) -> bool:
        """Take a request where there is room; tells whether there was."""
        pile, bound = (refused.endpoint, refused.standing), BOUNDS[refused.standing]
        if refused.size > bound.noted_bytes:
            refused = replace(refused, body=None)
        size = refused.size
        if (
            self._counts[pile] >= bound.noted
            or self._sizes[pile] + size > bound.noted_bytes
            or self._totals[refused.standing] + size > bound.all_bytes
        ):
            self.lost[pile] += 1
            return False
        self.noted.append(refused)
        self._counts[pile] += 1
        self._sizes[pile] += size
        self._totals[refused.standing] += size
        return True


class Quarantine:
    """Takes refused requests at once, and has them written by a task of its own."""

    def __init__(self, sealer: Sealer | None) -> None:
        self._sealer = sealer
        self._notes = Notes()
        self._wake = asyncio.Event()

    def note(self, seen: Seen, problem: Problem) -> None:
        """Keep a refused request in memory, where there is room for it."""
        refused = Refused.of(seen, problem)
        pile = (refused.endpoint, refused.standing)
        _came.labels(refused.endpoint, refused.reason).inc()
        self._notes.came[pile] += 1
        if not self._notes.add(refused):
            _lost.labels(*pile).inc()
        self._wake.set()

    async def flush(self) -> None:
        """Write what was noted; raises the Problem of a database that is away, and keeps it then."""
        taken, self._notes = self._notes, Notes()
        if not taken.came:
            return
        try:
            await write(taken, self._sealer)
        except Problem as problem:
            if problem.retry is Retry.NEVER:
                log.error("%d refused requests cannot be kept: %s", taken.came.total(), problem.detail)
                return
            self._take_back(taken)
            raise
        except asyncio.CancelledError:
            self._take_back(taken)
            raise

    async def run(self) -> None:
        """Write whenever something was noted, and let go what is too old, until cancelled."""
        loop = asyncio.get_running_loop()
        tidied = -LOOK_SECONDS
        while True:
            pause = PAUSE_SECONDS
            try:
                self._wake.clear()
                await self.flush()
                if loop.time() - tidied > LOOK_SECONDS:
                    await (await QuarantineRepository.open()).delete_aged(KEEP_SECONDS, TELL_SECONDS)
                    tidied = loop.time()
            except Problem as problem:
                log.warning("refused requests could not be written: %s", problem.detail)
                self._wake.set()
                pause = AWAY_SECONDS
            except Exception:
                log.exception("refused requests could not be written")
            await asyncio.sleep(pause)
            await first_of(self._wake, timeout=LOOK_SECONDS)

    def _take_back(self, taken: Notes) -> None:
        """What came meanwhile stands behind; where there is no room for both, that is what is lost."""
        newer, self._notes = self._notes, taken
        for refused in newer.noted:
            taken.add(refused)
        taken.came.update(newer.came)
        taken.lost.update(newer.lost)


@asynccontextmanager
async def opened_quarantine(sealer: Sealer | None) -> AsyncIterator[Quarantine]:
    """A quarantine whose task runs; at the end it writes what it has, as far as the database is there."""
    quarantine = Quarantine(sealer)
    running = asyncio.create_task(quarantine.run(), name="inbox-quarantine")
    try:
        yield quarantine
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        with suppress(Problem, TimeoutError):
            await asyncio.wait_for(quarantine.flush(), LEAVE_SECONDS)


async def write(notes: Notes, sealer: Sealer | None) -> None:
    """Commit what was noted, within the bounds of the table, and tell of ids that came with another body."""
    async with (await QuarantineRepository.open()).transaction() as tx:
        await tx.claim_writing()
        for piece in _pieces(notes.noted):
            await tx.insert_refused([_row(one, sealer) for one in piece])
        for pile, came in notes.came.items():
            bound = BOUNDS[pile[1]]
            gone = await tx.delete_beyond(pile, bound.kept, bound.kept_bytes)
            await tx.add_counts(pile, came, notes.lost[pile] + gone)
        for refused in notes.noted:
            if refused.reused is not None:
                await _tell(tx, refused, refused.reused)


async def _tell(tx: QuarantineRepository, refused: Refused, arrival: Arrival) -> None:
    first = await tx.get_first(arrival)
    if first is None or not await tx.claim_telling(arrival, TELL_SECONDS, MOST_TOLD):
        return
    event, digest = first
    told = IdReused(
        endpoint=arrival.endpoint,
        event=str(event),
        digest=digest.hex(),
        refused_digest=arrival.digest.hex(),
        quarantine=str(refused.id),
    )
    await outbox.put(tx, told)


def _pieces(noted: Sequence[Refused]) -> Iterator[Sequence[Refused]]:
    piece: list[Refused] = []
    size = 0
    for refused in noted:
        if piece and (len(piece) == MOST_ROWS or size + refused.size > MOST_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(refused)
        size += refused.size
    if piece:
        yield piece


def _row(refused: Refused, sealer: Sealer | None) -> dict[str, Any]:
    facts = {
        "endpoint": refused.endpoint,
        "standing": refused.standing,
        "status": refused.status,
        "code": refused.code,
        "reason": refused.reason,
        "detail": refused.detail,
        "method": refused.method,
        "url": shown_url(refused),
        "size": refused.size,
        "remote": refused.remote,
        "arrived": refused.arrived,
    }
    text = {name: storable(value) if isinstance(value, str) else value for name, value in facts.items()}
    return {
        "id": refused.id,
        "facts": json.dumps(text),
        "headers": shown_headers(refused),
        "sealed": seal(sealer, refused) if sealer is not None else None,
        "body": refused.body,
    }
