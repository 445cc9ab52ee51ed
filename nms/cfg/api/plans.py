"""Plans over HTTP: draw one, keep it, carry it out."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response

from nms.cfg.api.door import Router
from nms.cfg.condition import TAGGED, Tags, tag_of
from nms.cfg.models import ChangesetBody
from nms.cfg.plans import apply_plan, get_plan, keep_plan
from nms.cfg.problems import PlanApplied, PlanOutdated, RevisionMoved, RevisionUnmatched
from nms.cfg.repository import DocumentRepository
from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import Caller, requires

router = Router(tags=["plans"])

Repository = Annotated[DocumentRepository, Depends(get_db_repository(DocumentRepository))]
READ, WRITE = "config:read", "config:write"


@router.post("/plans", status_code=201, responses=problems(RevisionMoved, RevisionUnmatched))
async def keep(
    body: ChangesetBody, repository: Repository, tags: Tags, caller: Annotated[Caller, requires(WRITE)]
) -> dict[str, Any]:
    """What a changeset would do, kept under an id for 30 days, so that exactly this can be carried out."""
    return (await keep_plan(repository, body.changeset(caller.subject, tags))).to_dict()


@router.get("/plans/{plan}", dependencies=[requires(READ)])
async def read_plan(repository: Repository, plan: UUID) -> dict[str, Any]:
    """A plan that is kept, and the revision that it made if it was carried out."""
    return (await get_plan(repository, plan)).to_dict()


@router.post("/plans/{plan}/apply", responses=TAGGED | problems(PlanApplied, PlanOutdated, RevisionUnmatched))
async def carry_out(
    plan: UUID, response: Response, repository: Repository, tags: Tags, caller: Annotated[Caller, requires(WRITE)]
) -> dict[str, Any]:
    """Store what a plan says as one revision, if its base is still the current one; once."""
    done = await apply_plan(repository, plan, caller.subject, tags)
    response.headers["ETag"] = tag_of(done.revision)
    return done.to_dict()
