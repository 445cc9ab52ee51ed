"""Service tokens over HTTP: what machines call with."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Response, status

from nms.auth.api.tokens import Address
from nms.auth.models import Actor
from nms.auth.problems import NO_STORE, GrantExceeded, ServiceTokenOver
from nms.auth.role import Giver
from nms.auth.service_token import MadeServiceToken, NewServiceToken, Rotation, ServiceToken, ServiceTokenRepository
from nms.auth.service_tokens import (
    create_service_token,
    get_service_token,
    revoke_service_token,
    rotate_service_token,
)
from nms.common.answers import problems
from nms.common.db.problems import Duplicate
from nms.common.db.repositories import get_db_repository
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.router import Router

router = Router(prefix="/service-tokens", tags=["service-tokens"])
GONE = (GrantExceeded, ServiceTokenOver)
READ, WRITE = requires("service-tokens:read"), requires("service-tokens:write")


Writer = Annotated[Caller, WRITE]
Repository = Annotated[ServiceTokenRepository, Depends(get_db_repository(ServiceTokenRepository))]
Identity = Annotated[UUID, Path(alias="id", description="The id of the service token.")]


@router.get("", dependencies=[READ], summary="List service tokens")
async def list_service_tokens(
    repository: Repository,
    paging: Paging,
    revoked: Annotated[bool, Query(description="Those that were revoked in the last 30 days instead.")] = False,
) -> Page[ServiceToken]:
    """Service tokens by name, with when each secret of them was used last; no secret is shown."""
    rows = await repository.list_service_tokens(paging.after, paging.size, revoked=revoked)
    return paging.page(rows, key=lambda row: (row.name, row.id))


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create a service token",
    responses=problems(GrantExceeded, Duplicate),
)
async def add_service_token(
    repository: Repository, new: NewServiceToken, caller: Writer, address: Address, response: Response
) -> MadeServiceToken:
    """Make a token for a machine; `token` in the answer is shown this once.

    Every role accepts it as `Authorization: Bearer nmss_...`. Nobody gives scopes that he does not hold himself.
    """
    made = await create_service_token(repository, new, Giver(Actor(caller.name, address), caller))
    response.headers.update({**NO_STORE, "Location": f"service-tokens/{made.id}"})
    return made


@router.get("/{id}", dependencies=[READ], summary="Read a service token")
async def read_service_token(repository: Repository, identity: Identity) -> ServiceToken:
    """One service token, revoked or not."""
    return await get_service_token(repository, identity)


@router.post("/{id}/rotate", summary="Give a service token another secret", responses=problems(*GONE))
async def rotate_secret(
    repository: Repository,
    identity: Identity,
    caller: Writer,
    address: Address,
    response: Response,
    rotation: Rotation | None = None,
) -> MadeServiceToken:
    """Make a new secret, shown this once; the one before stays good for `overlap` seconds (a day unless you say).

    Set the new one at the machine, see in `last_used_at` that it is used, and let the earlier one run out.
    """
    response.headers.update(NO_STORE)
    by = Giver(Actor(caller.name, address), caller)
    return await rotate_service_token(repository, identity, (rotation or Rotation()).overlap, by)


@router.delete(
    "/{id}", status_code=status.HTTP_204_NO_CONTENT, summary="Revoke a service token", responses=problems(GrantExceeded)
)
async def end_service_token(repository: Repository, identity: Identity, caller: Writer, address: Address) -> None:
    """End a service token with all its secrets, in every role within a second; its name is free again."""
    await revoke_service_token(repository, identity, Giver(Actor(caller.name, address), caller))
