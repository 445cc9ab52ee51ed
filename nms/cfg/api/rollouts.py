"""Rollouts over HTTP."""

from typing import Annotated, Any

from fastapi import Depends

from nms.cfg.api.door import Router
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.rollout import Rollout, RolloutRepository

router = Router(tags=["rollouts"], dependencies=[requires("config:read")])

Repository = Annotated[RolloutRepository, Depends(get_db_repository(RolloutRepository))]


@router.get("/rollouts")
async def list_rollouts(repository: Repository, paging: Paging) -> Page[Rollout]:
    """Which process runs which revision, by role; one that was not heard of for 15 s is gone."""
    rows = await repository.list_rollouts(paging.after, paging.size)
    page: Page[Any] = paging.page(rows, key=lambda row: (row.role, str(row.id)))
    return page
