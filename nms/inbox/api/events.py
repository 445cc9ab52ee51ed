"""Events over HTTP: what came, to look at."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.common.settings import Settings
from nms.inbox.endpoints import Endpoints
from nms.inbox.identity import keys_of
from nms.inbox.models import EventFilter, Stored, StoredWhole
from nms.inbox.repository import InboxRepository

router = Router(prefix="/events", tags=["events"])

Repository = Annotated[InboxRepository, Depends(get_db_repository(InboxRepository))]
READ = requires("events:read")


async def is_relayed(request: Request) -> bool:
    """Whether events go on to RabbitMQ in this installation."""
    settings: Settings = request.app.state.settings
    return settings.amqp_dsn is not None


async def find_keys(request: Request, wanted: Annotated[EventFilter, Query()]) -> list[bytes] | None:
    """The keys of the id that is asked for, at the endpoints of this process; None where none is asked for."""
    if wanted.delivery is None:
        return None
    endpoints: Endpoints = request.app.state.endpoints
    return keys_of(wanted.delivery, [document for _, document, _ in endpoints.standing() if document is not None])


Relayed = Annotated[bool, Depends(is_relayed)]
Keys = Annotated[list[bytes] | None, Depends(find_keys)]


@router.get("", dependencies=[READ], summary="List what came")
async def list_events(
    repository: Repository, paging: Paging, wanted: Annotated[EventFilter, Query()], relayed: Relayed, keys: Keys
) -> Page[Stored]:
    """The events that are stored, the newest first, without their bodies. All that is given must hold."""
    before = paging.after[0] if paging.after else None
    rows = await repository.list_events(wanted, keys, (before, paging.size), relayed=relayed)
    return paging.page(rows, key=lambda row: (row.number,))


@router.get("/{event}", dependencies=[READ], summary="Read one event", responses=problems(NotFound))
async def read_event(repository: Repository, event: UUID, relayed: Relayed) -> StoredWhole:
    """One event with its headers and its body, as they came."""
    found = await repository.get_event(event, relayed=relayed)
    if found is None:
        raise NotFound(f"There is no event {event}.", event=str(event))
    return found
