"""The quarantine of a pipeline over HTTP: what the target refused, to replay or to drop."""

from typing import Annotated, Any

from fastapi import Body, Depends, Query, status

from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router
from nms.sync.api.pipelines import Name
from nms.sync.models import Asked, HeldState, Quarantined, Selection
from nms.sync.pipeline import ask_drop, ask_replay, list_quarantine
from nms.sync.repository import SyncRepository

router = Router(prefix="/pipelines/{name}/quarantine", tags=["quarantine"])

Repository = Annotated[SyncRepository, Depends(get_db_repository(SyncRepository))]
State = Annotated[HeldState | None, Query(description="Only changes in this state.", examples=["held"])]
_EXAMPLES: Any = {
    "one key": {"value": {"dataset": "public.subscription", "key": "ada@example.com"}},
    "everything": {"value": {"all": True}},
}
Selected = Annotated[Selection, Body(openapi_examples=_EXAMPLES)]
READ, WRITE = requires("quarantine:read"), requires("quarantine:write")


@router.get("", dependencies=[READ], summary="List what is held")
async def list_held(repository: Repository, name: Name, paging: Paging, state: State = None) -> Page[Quarantined]:
    """Changes that the target refused and those of the same key behind them, the newest first, with the reason."""
    before = paging.after[0] if paging.after else None
    rows = await list_quarantine(repository, name, (state, before, paging.size))
    return paging.page(rows, key=lambda row: (row.id,))


@router.post("/replay", dependencies=[WRITE], status_code=status.HTTP_202_ACCEPTED, summary="Try held changes again")
async def replay_held(repository: Repository, name: Name, selection: Selected) -> Asked:
    """The held changes of a key are applied in their order; one that is refused again stays held with the new reason.

    The worker that has the pipeline does it within a second; a paused or halted pipeline does it when it goes on.
    """
    return await ask_replay(repository, name, selection)


@router.post("/drop", dependencies=[WRITE], status_code=status.HTTP_202_ACCEPTED, summary="Give held changes up")
async def drop_held(repository: Repository, name: Name, selection: Selected) -> Asked:
    """The held changes of a key are given up; the target keeps what it has, and later changes of the key apply again.

    The worker that has the pipeline does it within a second; a paused or halted pipeline does it when it goes on.
    """
    return await ask_drop(repository, name, selection)
