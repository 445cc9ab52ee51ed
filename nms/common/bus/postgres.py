"""The bus without a broker: the outbox is the log, and each subscriber reads it by a cursor of its own."""

import asyncio
import logging

from nms.common.bus.subscription import EventRefused, Subscription
from nms.common.clock import backoff
from nms.common.db.repositories import BaseRepository
from nms.common.event import Envelope
from nms.common.faults import point
from nms.common.listen import listen
from nms.common.outbox import CHANNEL, queries, read, stamp, tidy
from nms.common.problem import Problem
from nms.common.waiting import first_of

log = logging.getLogger(__name__)

BATCH = 100
BATCH_SECONDS = 2.0
"""A turn ends after this time, so that its transaction holds back no vacuum."""
POLL_SECONDS = 1.0
TIDY_SECONDS = 600.0
DELIVERY_LIMIT = 20
"""An event whose handling ended the process this often in a row is a dead letter."""


class PostgresBus:
    """Delivers the events of one database's outbox; `notify` wakes it, and it looks each second anyway."""

    def __init__(self, outbox: BaseRepository) -> None:
        self._outbox = outbox

    async def check(self) -> None:
        """Raise a Problem when events cannot be delivered now."""
        await queries.get_outbox_end(self._outbox.connection)

    async def close(self) -> None:
        """Nothing is open."""

    async def relay(self, outbox: BaseRepository, stop: asyncio.Event) -> None:
        """Only tidy up: the outbox itself is the log."""
        while not stop.is_set():
            try:
                await tidy(outbox)
            except Problem as problem:
                log.warning("the outbox could not be tidied: %s", problem.code)
            await first_of(stop, timeout=TIDY_SECONDS)

    async def deliver(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Hand events to a subscription until told to stop; any number of processes may do so for one name."""
        wake = asyncio.Event()
        ear = asyncio.create_task(listen(self._outbox.connection, CHANNEL, lambda _payload: wake.set()))
        failures = 0
        try:
            while not stop.is_set():
                wake.clear()
                try:
                    pause = await self._turn(subscription, stop)
                    failures = 0
                except Problem as problem:
                    failures += 1
                    pause = backoff(failures, base=0.2, cap=10.0)
                    log.warning("%s cannot read the outbox: %s", subscription.name, problem.code)
                if pause:
                    await first_of(*([stop] if failures else [stop, wake]), timeout=pause)
        finally:
            ear.cancel()
            await asyncio.gather(ear, return_exceptions=True)

    async def _turn(self, subscription: Subscription, stop: asyncio.Event) -> float:
        """Handle a batch; gives the seconds to wait before the next one."""
        name, connection = subscription.name, self._outbox.connection
        await stamp(self._outbox)
        await queries.insert_subscriber(connection, name=name, from_start=True)
        position = await queries.get_subscriber(connection, name=name)
        end = await queries.get_outbox_end(connection)
        if not await read(self._outbox, position, subscription.types, 1):
            await queries.update_subscriber(connection, name=name, position=end)
            return POLL_SECONDS
        tries = await queries.update_tries(connection, name=name)
        if tries is None:
            return POLL_SECONDS
        async with self._outbox.transaction() as tx:
            position = await queries.claim_subscriber(tx.connection, name=name)
            if position is None:
                return POLL_SECONDS
            # After a death the first event is tried alone, so that the one to blame is known.
            batch = await read(tx, position, subscription.types, BATCH if tries == 1 else 1)
            reached, pause = await self._hand_over(subscription, batch, tries, stop)
            await queries.update_subscriber(tx.connection, name=name, position=max(position, reached))
        return pause

    async def _hand_over(
        self, subscription: Subscription, batch: list[tuple[int, Envelope]], tries: int, stop: asyncio.Event
    ) -> tuple[int, float]:
        """Handle events in order up to the first that must wait; gives the position reached and the pause."""
        loop, reached = asyncio.get_running_loop(), 0
        until = loop.time() + BATCH_SECONDS
        for position, envelope in batch:
            if stop.is_set() or loop.time() > until:
                break
            if tries > DELIVERY_LIMIT:
                await subscription.bury(envelope, EventRefused("Handling this event ended the process each time."))
            elif (pause := await _try(subscription, envelope)) is not None:
                return reached, pause
            reached = position
            point("bus.after_handle")
        return reached, 0.0


async def _try(subscription: Subscription, envelope: Envelope) -> float | None:
    """Handle or bury one event; gives seconds when it must be tried again."""
    try:
        await subscription.attempt(envelope)
    except Exception as error:
        problem, delay = subscription.judge(envelope, error)
        if delay is not None:
            return delay
        await subscription.bury(envelope, problem)
    return None
