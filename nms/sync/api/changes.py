"""The changes of a pipeline over HTTP: what was sent to a REST API, and what it answered."""

from typing import Annotated

from fastapi import Depends, Path, Query

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.sync.api.pipelines import Name
from nms.sync.models import ChangeFilter, SentChange
from nms.sync.pipeline import get_change, list_changes
from nms.sync.repository import SyncRepository

router = Router(prefix="/pipelines/{name}/changes", tags=["changes"])

Repository = Annotated[SyncRepository, Depends(get_db_repository(SyncRepository))]
Identity = Annotated[int, Path(ge=1, lt=1 << 63, description="The number of a change, as the list shows it.")]
READ = requires("pipelines:read")


@router.get("", dependencies=[READ], summary="List what was sent")
async def list_sent(
    repository: Repository, name: Name, paging: Paging, wanted: Annotated[ChangeFilter, Query()]
) -> Page[SentChange]:
    """Each captured change with its request and the answer, the newest first; those folded away say into which.

    They stay for `SYNC_CHANGES_KEEP` days. Pipelines between databases and into queues keep none.
    """
    before = paging.after[0] if paging.after else None
    rows = await list_changes(repository, name, wanted, (before, paging.size))
    return paging.page(rows, key=lambda row: (row.id,))


@router.get("/{change}", dependencies=[READ], summary="Read one change", responses=problems(NotFound))
async def read_sent(repository: Repository, name: Name, change: Identity) -> SentChange:
    """One change with its request and the answer."""
    return await get_change(repository, name, change)
