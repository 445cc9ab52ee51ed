"""Events over HTTP: what came, to look at."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.inbox.models import EventFilter, Stored, StoredWhole
from nms.inbox.repository import InboxRepository

router = Router(prefix="/events", tags=["events"])

Repository = Annotated[InboxRepository, Depends(get_db_repository(InboxRepository))]
READ = requires("events:read")


@router.get("", dependencies=[READ], summary="List what came")
async def list_events(repository: Repository, paging: Paging, wanted: Annotated[EventFilter, Query()]) -> Page[Stored]:
    """The events that are stored, the newest first, without their bodies; `since` makes a long list quick."""
    before = UUID(paging.after[0]) if paging.after else None
    rows = await repository.list_events(wanted, before, paging.size)
    return paging.page(rows, key=lambda row: (str(row.id),))


@router.get("/{event}", dependencies=[READ], summary="Read one event", responses=problems(NotFound))
async def read_event(repository: Repository, event: UUID) -> StoredWhole:
    """One event with its headers and its body, as they came."""
    found = await repository.get_event(event)
    if found is None:
        raise NotFound(f"There is no event {event}.", event=str(event))
    return found
