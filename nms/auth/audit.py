"""The audit: what was done or tried, by whom, from where; it is only added to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from nms.auth.models import Actor
from nms.auth.problems import GrantExceeded, TooManyAttempts
from nms.auth.repository import AuthRepository

R = TypeVar("R", bound=AuthRepository)


async def note(repository: AuthRepository, action: str, actor: Actor, subject: str = "", **facts: Any) -> None:
    """Add what was done, in the transaction of it; `action` reads noun.verb (`session.open`), facts are JSON values."""
    await repository.insert_audit(action, "done", (actor.name, actor.address), (subject, facts))


async def note_refused(repository: AuthRepository, action: str, actor: Actor, subject: str = "", **facts: Any) -> None:
    """Add what was tried and refused."""
    await repository.insert_audit(action, "refused", (actor.name, actor.address), (subject, facts))


async def note_held(
    repository: AuthRepository, action: str, actor: Actor, held: TooManyAttempts, subject: str = ""
) -> None:
    """Add what a network tried that is held: of its attempts the 1st, 2nd, 4th, 8th ... with how many there were."""
    if held.refused.bit_count() == 1:
        await note_refused(repository, action, actor, subject, reason="network", attempts=held.refused)


@asynccontextmanager
async def noted(repository: R, action: str, actor: Actor, subject: str = "") -> AsyncIterator[R]:
    """A transaction of which it stays noted when it ends because somebody reached for more than he holds."""
    try:
        async with repository.transaction() as tx:
            yield tx
    except GrantExceeded as problem:
        await note_refused(repository, action, actor, subject, scopes=problem.scopes)
        raise
