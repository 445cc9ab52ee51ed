"""The audit over HTTP: who did what, newest first; there is no way to change it."""

from typing import Annotated

from fastapi import Depends, Query

from nms.cfg.api.door import Router
from nms.cfg.audit import AuditEntry, AuditFilter, AuditRepository
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging

router = Router(tags=["audit"])

Repository = Annotated[AuditRepository, Depends(get_db_repository(AuditRepository))]


@router.get("/audit", dependencies=[requires("audit:read")], summary="Read who did what")
async def list_audit(
    repository: Repository, paging: Paging, wanted: Annotated[AuditFilter, Query()]
) -> Page[AuditEntry]:
    """Every change of what is declared and every refused attempt, newest first: who, what, why, from where."""
    rows = await repository.list_audit(wanted, paging.after, paging.size)
    return paging.page(rows, key=lambda row: (row.at, row.id))
