"""The use cases of revisions: what was stored when and by whom, how two of them differ, and the way back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from nms.cfg.audit import Act
from nms.cfg.difference import compare_bodies
from nms.cfg.documents import check_words, plan_changeset, store_changeset
from nms.cfg.models import Changeset, Difference, Identity, Plan, Revision, Rollback
from nms.cfg.problems import RevisionUnfit
from nms.cfg.repository import DocumentRepository
from nms.cfg.standing import read_body
from nms.cfg.text import Draft
from nms.cfg.turn import writing
from nms.common.problem import Malformed, NotFound, Pointer

_IN_DOCUMENT: Final = re.compile("^/documents/[0-9]+")


async def get_revision(repository: DocumentRepository, revision: int) -> tuple[Revision, tuple[Difference, ...]]:
    """A revision with what it changed; raises NotFound."""
    found = await _get_revision(repository, revision)
    return found, await _compare(repository, revision - 1, revision)


async def get_difference(
    repository: DocumentRepository, before: int, after: int | None = None
) -> tuple[int, tuple[Difference, ...]]:
    """The later one of two revisions and what makes it of the other; revision 0 is empty. Raises NotFound.

    `after` may be the older one; None is the current one.
    """
    after = await repository.get_current_revision() if after is None else after
    for revision in (before, after):
        if revision:
            await _get_revision(repository, revision)
    return after, await _compare(repository, before, after)


async def plan_rollback(repository: DocumentRepository, rollback: Rollback) -> Plan:
    """What going back to a revision would do now; raises as `roll_back` does."""
    changeset = await _undo(repository, rollback)
    with _told_of_revision(rollback):
        return await plan_changeset(repository, changeset)


async def roll_back(repository: DocumentRepository, rollback: Rollback) -> Plan:
    """Store a new revision whose documents are those of an old one; the plan that was carried out has its number.

    None is stored where nothing differs. Raises NotFound, RevisionMoved, RevisionUnmatched, and RevisionUnfit where
    the old documents would not be taken today.
    """
    check_words(rollback)
    async with writing(repository) as tx:
        changeset = await _undo(tx, rollback)
        with _told_of_revision(rollback):
            act = Act("revision.rollback", str(rollback.revision))
            return await store_changeset(tx, changeset, act)


async def _undo(repository: DocumentRepository, rollback: Rollback) -> Changeset:
    """What differs from an old revision, as it stood there; what is alike is left alone, be it unreadable."""
    await _get_revision(repository, rollback.revision)
    changed = await repository.list_documents_between(rollback.revision, await repository.get_current_revision())
    before = {identity: body for identity, (body, _) in changed.items()}
    return Changeset(
        [Draft(body, f"{kind} `{name}`") for (kind, name), body in before.items() if body is not None],
        base=rollback.base,
        message=rollback.message or f"rollback to revision {rollback.revision}",
        author=rollback.author,
        tags=rollback.tags,
        removed=frozenset(identity for identity, body in before.items() if body is None),
    )


@contextmanager
def _told_of_revision(rollback: Rollback) -> Iterator[None]:
    """Faults of documents that nobody sent now point at the revision that has them."""
    try:
        yield
    except Malformed as problem:
        raise RevisionUnfit(
            f"Of revision {rollback.revision} not all can be taken today; nothing was stored.",
            pointers=[Pointer("/revision", _locate(each)) for each in problem.pointers],
            revision=rollback.revision,
        ) from None


def _locate(fault: Pointer) -> str:
    """`system `crm`: what is wrong`, with the place within the document."""
    place = _IN_DOCUMENT.sub("", fault.pointer)
    return f"{fault.detail} (at {place})" if place else fault.detail


async def _get_revision(repository: DocumentRepository, revision: int) -> Revision:
    found = await repository.get_revision(revision)
    if found is None:
        raise NotFound(f"There is no revision {revision}.", revision=revision)
    return found


async def _compare(repository: DocumentRepository, before: int, after: int) -> tuple[Difference, ...]:
    changed = await repository.list_documents_between(min(before, after), max(before, after))
    sides = [_side(changed, 0), _side(changed, 1)]
    return compare_bodies(*(sides if before <= after else reversed(sides)))


def _side(changed: Mapping[Identity, Sequence[Any]], at: int) -> dict[Identity, Any]:
    return {identity: read_body(bodies[at])[0] for identity, bodies in changed.items() if bodies[at] is not None}
