"""Revisions over HTTP."""

from typing import Annotated, Any

from fastapi import Depends, Path

from nms.cfg.api.door import Router
from nms.cfg.repository import DocumentRepository
from nms.cfg.revisions import get_revision
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging

router = Router(tags=["revisions"], dependencies=[requires("config:read")])

Repository = Annotated[DocumentRepository, Depends(get_db_repository(DocumentRepository))]
Number = Annotated[int, Path(ge=1, lt=1 << 63)]


@router.get("/revisions")
async def list_revisions(repository: Repository, paging: Paging) -> Page[Any]:
    """Revisions, the newest first."""
    before = paging.after[0] if paging.after else None
    rows = await repository.list_revisions(before, paging.size)
    return paging.page(rows, key=lambda row: (row.id,), show=lambda row: row.to_dict())


@router.get("/revisions/{revision}")
async def read_revision(repository: Repository, revision: Number) -> dict[str, Any]:
    """One revision with what it changed, field by field."""
    found, differences = await get_revision(repository, revision)
    return {**found.to_dict(), "differences": [each.to_dict() for each in differences]}
