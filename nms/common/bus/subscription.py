"""A subscription: who wants which events, what happens with each, once, and what becomes of those that fail."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from nms.common import clock
from nms.common.db.repositories import BaseRepository
from nms.common.event import Envelope
from nms.common.outbox import queries
from nms.common.problem import Problem, Retry

log = logging.getLogger(__name__)

CRASH_TRIES = 5
"""An exception without retry advice (a bug) is tried this often before the event is a dead letter."""

EventHandler = Callable[[Any, Envelope], Awaitable[None]]
"""Called with the subscriber's repository in a transaction, and the event."""


class EventRefused(Problem):
    """The handler of an event failed in a way that nobody foresaw, or the event is malformed."""

    status, code, title = 500, "event-refused", "An event cannot be handled"
    remedy = "Look into the log of the subscriber; the event is kept among the dead letters."


@dataclass(frozen=True)
class Subscription:
    """A named subscriber of event types; `room.*` stands for all of a room.

    The handler runs in a transaction of `repository` that also notes the event as seen: whatever else is delivered
    twice, its effects in that database happen once.
    """

    name: str
    types: Sequence[str]
    repository: BaseRepository
    handler: EventHandler
    failures: dict[UUID, int] = field(default_factory=dict)

    async def attempt(self, envelope: Envelope) -> None:
        """Handle an event unless it was seen; raises whatever the handler raises."""
        async with self.repository.transaction() as tx:
            fresh = await queries.insert_seen(tx.connection, subscriber=self.name, event_id=envelope.id)
            if fresh:
                await self.handler(tx, envelope)
        self.failures.pop(envelope.id, None)

    def judge(self, envelope: Envelope, error: Exception) -> tuple[Problem, float | None]:
        """The problem of a failed attempt, and the seconds until the next one; None: it is a dead letter."""
        count = self.failures[envelope.id] = self.failures.get(envelope.id, 0) + 1
        problem = error if isinstance(error, Problem) else EventRefused(_sentence(error))
        bug = not isinstance(error, Problem)
        if isinstance(error, ValidationError) or (bug and count >= CRASH_TRIES) or _hopeless(error):
            self.failures.pop(envelope.id, None)
            log.error("%s: event %s of type %s is a dead letter: %s", self.name, envelope.id, envelope.type, problem)
            return problem, None
        base, cap = (0.05, 5.0) if problem.retry is Retry.NOW or bug else (0.5, 60.0)
        delay = clock.backoff(count, base=base, cap=cap)
        log.warning("%s: event %s waits %.1f s: %s", self.name, envelope.id, delay, problem.code, exc_info=bug)
        return problem, delay

    async def bury(self, envelope: Envelope, problem: Problem) -> None:
        """Keep an event as a dead letter, and go on."""
        await queries.insert_dead_letter(
            self.repository.connection,
            subscriber=self.name,
            event_id=envelope.id,
            event=envelope.to_dict(),
            problem=problem.to_dict(),
        )


def _hopeless(error: Exception) -> bool:
    return isinstance(error, Problem) and error.retry is Retry.NEVER


def _sentence(error: Exception) -> str:
    return f"The handler raised {type(error).__name__}."
