"""The use cases of revisions: what was stored when, by whom, and what it changed."""

from typing import Any

from nms.cfg.difference import compare_bodies
from nms.cfg.models import Difference, Revision
from nms.cfg.repository import DocumentRepository
from nms.common.problem import NotFound


async def get_revision(repository: DocumentRepository, revision: int) -> tuple[Revision, tuple[Difference, ...]]:
    """A revision with what it changed; raises NotFound."""
    found = await repository.get_revision(revision)
    if found is None:
        raise NotFound(f"There is no revision {revision}.", revision=revision)
    changed = await repository.list_changed(revision)
    return found, compare_bodies(_bodies(changed, "body_before"), _bodies(changed, "body"))


def _bodies(changed: list[Any], side: str) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["name"]): each[side] for each in changed if each[side] is not None}
