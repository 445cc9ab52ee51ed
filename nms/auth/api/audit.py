"""The audit over HTTP: who did what, newest first; there is no way to change it."""

from typing import Annotated

from fastapi import Depends, Query

from nms.auth.repository import AuthRepository
from nms.common.audit import AuditEntry, AuditFilter
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router

router = Router(tags=["audit"])

Repository = Annotated[AuthRepository, Depends(get_db_repository(AuthRepository))]


@router.get("/audit", dependencies=[requires("audit:read")], summary="Read who did what")
async def list_audit(
    repository: Repository, paging: Paging, wanted: Annotated[AuditFilter, Query()]
) -> Page[AuditEntry]:
    """Every attempt, grant, revocation and change, newest first: who, what, from where, with what outcome."""
    rows = await repository.list_audit(wanted, paging.after, paging.size)
    return paging.page(rows, key=lambda row: (row.at, row.id))
