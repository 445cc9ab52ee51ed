"""Revisions over HTTP: read them, compare them, go back to one."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Response

from nms.cfg.api.door import Router
from nms.cfg.condition import TAGGED, Tags, tag_of
from nms.cfg.models import RollbackBody
from nms.cfg.problems import RevisionMoved, RevisionUnfit, RevisionUnmatched
from nms.cfg.repository import DocumentRepository
from nms.cfg.revisions import get_difference, get_revision, plan_rollback, roll_back
from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound

router = Router(tags=["revisions"])

Repository = Annotated[DocumentRepository, Depends(get_db_repository(DocumentRepository))]
Number = Annotated[int, Path(ge=1, lt=1 << 63)]
Side = Annotated[int, Path(ge=0, lt=1 << 63, description="a revision; 0 is before the first")]
READ, WRITE = "config:read", "config:write"
_REFUSALS = problems(NotFound, RevisionMoved, RevisionUnmatched, RevisionUnfit)


@router.get("/revisions", dependencies=[requires(READ)])
async def list_revisions(repository: Repository, paging: Paging) -> Page[Any]:
    """Revisions, the newest first."""
    before = paging.after[0] if paging.after else None
    rows = await repository.list_revisions(before, paging.size)
    return paging.page(rows, key=lambda row: (row.id,), show=lambda row: row.to_dict())


@router.get("/revisions/{revision}", dependencies=[requires(READ)])
async def read_revision(repository: Repository, revision: Number) -> dict[str, Any]:
    """One revision with what it changed, field by field."""
    found, differences = await get_revision(repository, revision)
    return {**found.to_dict(), "differences": [each.to_dict() for each in differences]}


@router.get("/revisions/{revision}/diff", dependencies=[requires(READ)])
async def compare(
    repository: Repository,
    revision: Side,
    to: Annotated[
        int | None, Query(ge=0, lt=1 << 63, description="the other revision, an older one too; the current one else")
    ] = None,
) -> dict[str, Any]:
    """What makes one revision of another, field by field."""
    after, differences = await get_difference(repository, revision, to)
    return {"revision": revision, "to": after, "differences": [each.to_dict() for each in differences]}


@router.post("/rollback", responses=TAGGED | _REFUSALS)
async def rollback(
    body: RollbackBody,
    response: Response,
    repository: Repository,
    tags: Tags,
    caller: Annotated[Caller, requires(WRITE)],
) -> dict[str, Any]:
    """A new revision whose documents are those of an old one; nothing is stored where nothing differs."""
    plan = await roll_back(repository, body.rollback(caller.subject, tags))
    response.headers["ETag"] = tag_of(plan.revision)
    return plan.to_dict()


@router.post("/rollback/plan", dependencies=[requires(READ)], responses=_REFUSALS)
async def preview(body: RollbackBody, repository: Repository, tags: Tags) -> dict[str, Any]:
    """What going back to a revision would do; nothing is stored."""
    return (await plan_rollback(repository, body.rollback("plan", tags))).to_dict()
