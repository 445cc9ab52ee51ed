"""The audit: who did or tried what to what is declared, why and from where; it is only added to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from nms.common import audit
from nms.common.audit import Outcome
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.operator import name_operator

_queries = load("nms.cfg")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: `address` and `request` (its id in the log) are empty for a command."""

    name: str
    address: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """What was done, as `noun.verb` (`secret.set`), to whom or what, and why in the words of whoever did it.

    `facts` are JSON values; never a secret, nor its length or hash.
    """

    action: str
    subject: str = ""
    revision: int | None = None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class AuditEntry(audit.AuditEntry):
    """Something that was done to what is declared, or refused: who wanted it, why, from where."""

    request: Annotated[
        str, Field(description="the id of the request, as the log names it; empty for a command")
    ]  # fmt: skip
    revision: Annotated[int | None, Field(description="the revision that it made", examples=[17])]
    reason: Annotated[str, Field(description="why, in the words of whoever did it", examples=["a second region"])]


class AuditFilter(audit.AuditFilter):
    """Which entries are wanted; what is left out stands for all."""

    revision: Annotated[int | None, Field(ge=1, lt=1 << 63, description="Only what made this revision.")] = None


class AuditRepository(BaseNmsRepository):
    """The audit of the database `nms`."""

    async def list_audit(self, wanted: AuditFilter, after: Sequence[Any] | None, size: int) -> list[AuditEntry]:
        """What was done, newest first, behind a time and an id."""
        after_at, after_id = after or (None, None)
        rows = await _queries.list_audit(
            self.connection,
            action=wanted.action,
            outcome=wanted.outcome,
            actor=wanted.actor,
            subject=wanted.subject,
            revision=wanted.revision,
            since=wanted.since,
            until=wanted.until,
            after_at=after_at,
            after_id=after_id,
            size=size,
        )
        return [AuditEntry(**row) for row in rows]


_actor: ContextVar[Actor | None] = ContextVar("cfg_actor", default=None)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """All that is noted inside, in this task and its children, is of this actor; else of this machine's operator."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


async def note(tx: BaseNmsRepository, act: Act) -> None:
    """Add what was done, in the transaction of it."""
    await _insert(tx, act, Outcome.DONE)


async def note_refused(repository: BaseNmsRepository, act: Act) -> None:
    """Add what was tried and refused; outside of the transaction that it ended."""
    await _insert(repository, act, Outcome.REFUSED)


async def _insert(repository: BaseNmsRepository, act: Act, outcome: Outcome) -> None:
    actor = _actor.get() or Actor(name_operator())
    await _queries.insert_audit(
        repository.connection,
        action=act.action,
        outcome=outcome,
        actor=actor.name,
        address=actor.address,
        request=actor.request,
        subject=act.subject,
        revision=act.revision,
        reason=act.reason,
        facts=dict(act.facts),
    )
