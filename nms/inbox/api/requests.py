"""Requests that brought lists over HTTP: the bytes that were signed, and whether they are believed today."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.inbox.models import RequestWhole, read_headers, show_body
from nms.inbox.repository import InboxRepository
from nms.inbox.verification import Today

router = Router(prefix="/requests", tags=["events"])

Repository = Annotated[InboxRepository, Depends(get_db_repository(InboxRepository))]
Identity = Annotated[UUID, Path(alias="id", description="The `request` of an event.")]


@router.get(
    "/{id}",
    dependencies=[requires("events:read")],
    summary="Read a request that brought a list",
    responses=problems(NotFound),
)
async def read_request(repository: Repository, request: Request, id_: Identity) -> RequestWhole:
    """The request as it came, and whether its endpoint would believe it today; `request` of an event names it."""
    kept = await repository.get_request(id_)
    if kept is None:
        raise NotFound(f"There is no request {id_}.", id=str(id_))
    reason = (await Today.read(repository, request.app.state.settings)).judge(kept)
    encoding, body = show_body(kept.body)
    return RequestWhole(
        id=kept.id,
        endpoint=kept.endpoint,
        method=kept.method,
        url=kept.url,
        received_at=kept.received_at,
        headers=read_headers(kept.headers),
        encoding=encoding,
        body=body,
        believed=reason is None,
        reason=reason,
    )
