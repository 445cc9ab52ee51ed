"""The use cases of stored plans: one that was looked at is carried out as it stands, once, or not at all."""

from typing import Final
from uuid import UUID

from nms.cfg import audit
from nms.cfg.audit import Act
from nms.cfg.documents import changed_bodies, check_words, plan_changeset, store_changeset
from nms.cfg.models import Changeset, Plan, StoredPlan
from nms.cfg.problems import PlanApplied, PlanOutdated
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.cfg.turn import writing
from nms.common.problem import NotFound

KEEP_DAYS: Final = 30
"""How long a plan is kept, carried out or not."""


async def keep_plan(repository: DocumentRepository, changeset: Changeset) -> StoredPlan:
    """Plan a changeset and keep what it would do; raises as `plan_changeset` does."""
    check_words(changeset)
    plan = await plan_changeset(repository, changeset)
    changes = [{"kind": kind, "name": name, "document": body} for (kind, name), body in changed_bodies(plan).items()]
    async with repository.transaction() as tx:
        await tx.purge_plans(KEEP_DAYS)
        kept = await tx.insert_plan(changeset, plan, changes)
        await audit.note(tx, Act("plan.keep", str(kept.id), reason=changeset.message))
    return kept


async def get_plan(repository: DocumentRepository, number: UUID) -> StoredPlan:
    """A plan that is kept; raises NotFound."""
    plan = await repository.get_plan(number)
    if plan is None:
        raise NotFound(f"There is no plan {number}; plans are kept for {KEEP_DAYS} days.", plan=str(number))
    return plan


async def apply_plan(repository: DocumentRepository, number: UUID, author: str) -> Plan:
    """Carry out a plan as it was told, as one revision.

    Raises NotFound, PlanApplied where that was done already, and PlanOutdated where its base is not current any more.
    """
    async with writing(repository) as tx:
        kept = await get_plan(tx, number)
        if kept.applied_at is not None:
            raise PlanApplied(f"The plan {number} made {_made(kept)}.", plan=str(number), revision=kept.revision)
        current = await tx.get_current_revision()
        if kept.base != current:
            raise PlanOutdated(
                f"The plan was made for revision {kept.base}, the current one is {current}.",
                plan=str(number), base=kept.base, revision=current,
            )  # fmt: skip
        done = await store_changeset(tx, _changeset(kept, author), Act("plan.apply", str(number)))
        await tx.mark_plan_applied(number, done.revision if done.differences else None)
    return done


def _made(kept: StoredPlan) -> str:
    return "no revision: nothing differed" if kept.revision is None else f"revision {kept.revision}"


def _changeset(kept: StoredPlan, author: str) -> Changeset:
    return Changeset(
        [Draft(each["document"]) for each in kept.changes if each["document"] is not None],
        base=kept.base,
        message=kept.message,
        author=author,
        removed=frozenset((each["kind"], each["name"]) for each in kept.changes if each["document"] is None),
    )
