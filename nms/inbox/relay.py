"""Events onwards to RabbitMQ: to the exchange `nms.inbox`, in order, at least once; without AMQP_DSN nowhere."""

import asyncio
import logging
from typing import Any, Final

from nms.common.bus.exchange import SHORT_BYTES, Exchange, Letter, open_exchange, shortened
from nms.common.clock import backoff
from nms.common.faults import point
from nms.common.listen import listen
from nms.common.metrics import Counter, Gauge
from nms.common.problem import Problem
from nms.common.settings import Settings
from nms.common.waiting import first_of
from nms.inbox.arrival import Unsent
from nms.inbox.repository import InboxRepository, queries

log = logging.getLogger(__name__)

EXCHANGE: Final = "nms.inbox"
CHANNEL: Final = "nms_inbox"
BATCH: Final = 250
BATCH_BYTES: Final = 4 * 1024 * 1024
POLL_SECONDS: Final = 1.0
FINISH_SECONDS: Final = 0.4
"""How long a batch under way may take once the process is told to stop."""
HEALTHY_SECONDS: Final = 30.0
LONGEST_PAUSE: Final = 10.0

_lag = Gauge(
    "nms_inbox_relay_lag",
    "Events that are stored and not yet with RabbitMQ (0 without AMQP_DSN)",
    multiprocess_mode="livemostrecent",
)
_relayed = Counter("nms_inbox_relayed", "Events that RabbitMQ has confirmed, those that were sent again included")

_lost = Counter(
    "nms_inbox_relay_lost",
    "Numbers of events that were dropped for their age before RabbitMQ had them; of some the transaction was undone",
)


class RelayRepository(InboxRepository):
    """The cursor of the relay, and the events behind it."""

    async def claim_relay(self) -> int | None:
        """How far events were passed on, held until the transaction ends; None where another process holds it."""
        number: int | None = await queries.claim_relay(self.connection)
        return number

    async def claim_mark(self) -> None:
        """Be the only process that looks for the relay's mark, until the transaction ends."""
        await queries.claim_mark(self.connection)

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


class Relay:
    """Sends what stands behind a cursor, and moves it once RabbitMQ has confirmed.

    The broker may be away or wiped: only lag grows. One without our mark was wiped (or is new): then all that is
    still kept is sent again, with the same ids.
    """

    def __init__(self, repository: RelayRepository, settings: Settings) -> None:
        self._repository = repository
        self._settings = settings
        self._wake = asyncio.Event()
        self._told = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until told to stop; any number of processes may do so, one at a time sends."""
        ear = asyncio.create_task(listen(self._repository.connection, CHANNEL, lambda _payload: self._wake.set()))
        failures = 0
        try:
            while not stop.is_set():
                began = asyncio.get_running_loop().time()
                try:
                    await _until_stopped(self._attempt(stop), stop)
                except Problem as problem:
                    failures = 1 if asyncio.get_running_loop().time() - began > HEALTHY_SECONDS else failures + 1
                    log.warning("the inbox passes nothing on to RabbitMQ: %s %s", problem.code, problem.detail)
                    await self._measure()
                    await first_of(stop, timeout=backoff(failures, base=0.2, cap=LONGEST_PAUSE))
        finally:
            ear.cancel()
            await asyncio.gather(ear, return_exceptions=True)

    async def _attempt(self, stop: asyncio.Event) -> None:
        async with open_exchange(self._settings, EXCHANGE) as exchange:
            await self._prepare(exchange)
            while not stop.is_set():
                self._wake.clear()
                sent = await self._forward(exchange)
                if not sent:
                    await self._measure()
                    # Where another process sends, there is nothing to be woken for.
                    await first_of(stop, *([] if sent is None else [self._wake]), timeout=POLL_SECONDS)
                    exchange.check()

    async def _prepare(self, exchange: Exchange) -> None:
        async with self._repository.transaction() as tx:
            await tx.claim_mark()
            if await exchange.has_mark():
                return
            # First the cursor, over another connection, then the mark: dying in between only repeats this.
            await self._repository.move_relay(0)
            point("inbox.after_rewind")
            await exchange.leave_mark()
        log.info("RabbitMQ is new or was wiped: every event that is still kept is passed on")

    async def _forward(self, exchange: Exchange) -> int | None:
        """Send a batch; gives its size, None where another process sends."""
        async with self._repository.transaction() as tx:
            after = await tx.claim_relay()
            if after is None:
                return None
            upto = await tx.get_settled()
            if upto <= after:
                return 0
            events = await tx.list_unsent(after, upto, BATCH, BATCH_BYTES)
            if events:
                await exchange.publish([to_letter(event) for event in events])
                point("inbox.after_publish")
            # Later than the events were read: a day that goes in between is told too early, and not never.
            dropped = await tx.get_dropped()
            # Where there are none, the numbers up to there are those of transactions that were rolled back.
            await tx.move_relay(events[-1].number if events else upto)
        _relayed.inc(len(events))
        self._tell_lost(after, dropped)
        return len(events)

    def _tell_lost(self, after: int, dropped: int) -> None:
        """Tell once that days were dropped behind the cursor; one that begins anew was to get what is kept."""
        lost = dropped - max(after, self._told)
        if after > 0 and lost > 0:
            _lost.inc(lost)
            log.error("events were dropped for their age before RabbitMQ had them: %d numbers up to %d", lost, dropped)
        self._told = max(self._told, dropped)

    async def _measure(self) -> None:
        try:
            _lag.set(await self._repository.get_relay_lag())
        except Problem as problem:
            log.warning("the lag of the relay could not be measured: %s", problem.code)


async def run_relay(repository: RelayRepository, settings: Settings, stop: asyncio.Event) -> None:
    """Relay until told to stop; without AMQP_DSN there is nothing to do: pipelines read the feed themselves."""
    if settings.amqp_dsn is not None:
        await Relay(repository, settings).run(stop)


def to_letter(event: Unsent) -> Letter:
    """An event as a message: the body as it came, what is known of it in properties and headers."""
    headers: dict[str, str | int] = {"endpoint": event.endpoint, "item": event.item}
    headers |= {"key": event.key.hex(), "number": event.number}
    if event.run is not None:
        headers["run"] = event.run
    return Letter(
        id=event.id,
        routing_key=shortened(f"{event.endpoint}.{event.type}" if event.type else event.endpoint),
        type=shortened(event.type),
        content_type=event.content_type if 0 < len(event.content_type.encode()) <= SHORT_BYTES else None,
        body=event.body,
        sent_at=event.received_at,
        headers=headers,
    )


async def _until_stopped(attempt: Any, stop: asyncio.Event) -> None:
    """Await an attempt; once told to stop it may finish its batch, and no broker that does not answer is waited for."""
    task = asyncio.ensure_future(attempt)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=FINISH_SECONDS)
    finally:
        stopping.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()
