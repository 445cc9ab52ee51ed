"""The quarantine over HTTP: refused requests, to look at, to verify again, to delete."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request, status

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.inbox import verification
from nms.inbox.models import (
    QuarantineCount,
    Quarantined,
    QuarantinedWhole,
    QuarantineFilter,
    Verification,
    Verified,
    VerifiedMany,
)
from nms.inbox.problems import BodyNotKept, CredentialsAway, StillRefused
from nms.inbox.quarantine import QuarantineRepository
from nms.inbox.verification import Today, missing, verify, verify_many

router = Router(prefix="/quarantine", tags=["quarantine"])

Repository = Annotated[QuarantineRepository, Depends(get_db_repository(QuarantineRepository))]
Identity = Annotated[UUID, Path(alias="id", description="The id of the refused request.")]
READ, WRITE = requires("events:read"), requires("events:write")
_AGAIN = problems(NotFound, StillRefused, BodyNotKept, CredentialsAway)


@router.get("", dependencies=[READ], summary="List what was refused")
async def list_quarantine(
    repository: Repository, paging: Paging, wanted: Annotated[QuarantineFilter, Query()]
) -> Page[Quarantined]:
    """Requests that were refused, the newest first, with the reason; kept for a week, and so many of an endpoint."""
    before = paging.after[0] if paging.after else None
    rows = await repository.list_quarantined(wanted, before, paging.size)
    return paging.page(rows, key=lambda row: (row.number,))


@router.get("/counts", dependencies=[READ], summary="Count what was refused")
async def count_quarantine(repository: Repository, paging: Paging) -> Page[QuarantineCount]:
    """By endpoint and standing: how many are kept, how many came, and how many of them were lost to a bound."""
    rows = await repository.list_counts(paging.after and (paging.after[0], paging.after[1]), paging.size)
    return paging.page(rows, key=lambda row: (row.endpoint, row.standing))


@router.post("/verify", dependencies=[WRITE], summary="Verify many requests again")
async def verify_quarantine(repository: Repository, request: Request, wanted: Verification) -> VerifiedMany:
    """The requests of an endpoint, the oldest first, each by itself: what is believed now is stored and goes."""
    return await verify_many(repository, wanted, await Today.read(repository, request.app.state.settings))


@router.get("/{id}", dependencies=[READ], summary="Read one refused request", responses=problems(NotFound))
async def read_quarantined(repository: Repository, id_: Identity) -> QuarantinedWhole:
    """One refused request with its headers and its body; what may be a credential is hidden."""
    return await verification.read_quarantined(repository, id_)


@router.post("/{id}/verify", dependencies=[WRITE], summary="Verify one request again", responses=_AGAIN)
async def verify_quarantined(repository: Repository, request: Request, id_: Identity) -> Verified:
    """By today's document and secrets, at the time when it came; what is believed is stored, once, and goes."""
    return await verify(repository, id_, await Today.read(repository, request.app.state.settings))


@router.delete(
    "/{id}", dependencies=[WRITE], status_code=status.HTTP_204_NO_CONTENT, summary="Delete one refused request",
    responses=problems(NotFound),
)  # fmt: skip
async def delete_quarantined(repository: Repository, id_: Identity) -> None:
    """It is given up."""
    if not await repository.delete_quarantined(id_):
        raise missing(id_)
