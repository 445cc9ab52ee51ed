"""The use cases of stored plans: one that was looked at is carried out as it stands, once, or not at all."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
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
    plan = await repository.get_plan(number, KEEP_DAYS)
    if plan is None:
        raise NotFound(f"There is no plan {number}; plans are kept for {KEEP_DAYS} days.", plan=str(number))
    return plan


async def apply_plan(
    repository: DocumentRepository, number: UUID, author: str, tags: frozenset[str] | None = None
) -> Plan:
    """Carry out a plan as it was told, as one revision.

    Raises NotFound, PlanApplied where that was done already, PlanOutdated where its base is not current any more or
    something else would follow from it by now, and RevisionUnmatched.
    """
    async with writing(repository) as tx:
        kept = await get_plan(tx, number)
        current = await tx.get_current_revision()
        _check_kept(kept, current)
        done = await store_changeset(tx, _changeset(kept, author, tags), Act("plan.apply", str(number)))
        if list(_list_effects(done.to_dict())) != list(_list_effects(kept.told)):
            # The base says nothing of secrets, which may have been set meanwhile.
            raise PlanOutdated(
                "By now something else would follow from the plan than was told.",
                plan=str(number), base=kept.base, revision=current,
            )  # fmt: skip
        await tx.mark_plan_applied(number, done.revision if done.differences else None)
    return done


def _made(kept: StoredPlan) -> str:
    return "no revision: nothing differed" if kept.revision is None else f"revision {kept.revision}"


def _check_kept(kept: StoredPlan, current: int) -> None:
    if kept.applied_at is not None:
        raise PlanApplied(f"The plan {kept.id} made {_made(kept)}.", plan=str(kept.id), revision=kept.revision)
    if kept.base != current:
        raise PlanOutdated(
            f"The plan was made for revision {kept.base}, the current one is {current}.",
            plan=str(kept.id), base=kept.base, revision=current,
        )  # fmt: skip


def _list_effects(told: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for each in told["differences"]:
        for sentence in each.get("effects", ()):
            yield each["kind"], each["name"], sentence


def _changeset(kept: StoredPlan, author: str, tags: frozenset[str] | None) -> Changeset:
    return Changeset(
        tags=tags,
        drafts=[Draft(each["document"]) for each in kept.changes if each["document"] is not None],
        base=kept.base,
        message=kept.message,
        author=author,
        removed=frozenset((each["kind"], each["name"]) for each in kept.changes if each["document"] is None),
    )
