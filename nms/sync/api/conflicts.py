"""Conflicts of two-way pipelines over HTTP: what both sides had, what came of it, and deciding what waits."""

from typing import Annotated, Any

from fastapi import Body, Depends, Path, Query, status

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router
from nms.sync.conflict import get_conflict, list_conflicts, resolve
from nms.sync.models import Conflicted, ConflictState, Resolution
from nms.sync.problems import ConflictSettled
from nms.sync.repository import SyncRepository

router = Router(prefix="/conflicts", tags=["conflicts"])

Repository = Annotated[SyncRepository, Depends(get_db_repository(SyncRepository))]
Pipeline = Annotated[
    str | None, Query(max_length=40, description="Only those of this pipeline.", examples=["customers"])
]
State = Annotated[ConflictState | None, Query(description="Only conflicts in this state.", examples=["open"])]
Number = Annotated[int, Path(ge=1, lt=1 << 63, description="The number of a conflict.", examples=[1])]
_EXAMPLES: Any = {
    "one side": {"value": {"take": "source"}},
    "field by field": {"value": {"fields": {"name": "target", "email": "source"}}},
}
Decided = Annotated[Resolution, Body(openapi_examples=_EXAMPLES)]
READ, WRITE = requires("pipelines:read"), requires("pipelines:write")


@router.get("", dependencies=[READ], summary="List conflicts")
async def list_them(
    repository: Repository, paging: Paging, pipeline: Pipeline = None, state: State = None
) -> Page[Conflicted]:
    """Records that both sides changed, the newest first, with what either had: those that wait, and the log."""
    before = paging.after[0] if paging.after else None
    rows = await list_conflicts(repository, (pipeline, state), before, paging.size)
    return paging.page(rows, key=lambda row: (row.id,))


@router.get("/{number}", dependencies=[READ], summary="Read one conflict")
async def read_conflict(repository: Repository, number: Number) -> Conflicted:
    """What both sides had, what they had when they were last alike, and what came of it."""
    return await get_conflict(repository, number)


@router.post(
    "/{number}/resolve",
    dependencies=[WRITE],
    status_code=status.HTTP_202_ACCEPTED,
    summary="Decide about a record that waits",
    responses=problems(ConflictSettled),
)
async def resolve_conflict(repository: Repository, number: Number, decided: Decided) -> Conflicted:
    """The worker that has the pipeline makes both sides so within a second; a paused pipeline does it when it goes on.

    It decides between what both sides have then: what changed meanwhile is not lost.
    """
    return await resolve(repository, number, decided)
