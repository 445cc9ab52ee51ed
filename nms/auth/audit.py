"""The audit: what was done or tried, by whom, from where; it is only added to."""

from typing import Any

from nms.auth.models import Actor
from nms.auth.repository import AuthRepository


async def note(repository: AuthRepository, action: str, actor: Actor, subject: str = "", **facts: Any) -> None:
    """Add what was done, in the transaction of it; `action` reads noun.verb (`session.open`), facts are JSON values."""
    await repository.insert_audit(action, "done", (actor.name, actor.address), (subject, facts))


async def note_refused(repository: AuthRepository, action: str, actor: Actor, subject: str = "", **facts: Any) -> None:
    """Add what was tried and refused."""
    await repository.insert_audit(action, "refused", (actor.name, actor.address), (subject, facts))
