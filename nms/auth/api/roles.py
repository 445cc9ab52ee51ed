"""Roles over HTTP: sets of scopes that users hold together."""

from typing import Annotated

from fastapi import Path, Response, status

from nms.auth.api.tokens import Address, Repository
from nms.auth.problems import GrantExceeded, RoleBuiltIn, RoleHeld
from nms.auth.role import Giver, NewRole, Role, RoleBody, RoleName
from nms.auth.roles import change_role, create_role, delete_role, get_role, list_roles
from nms.common.answers import problems
from nms.common.db.problems import Duplicate
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.router import Router

router = Router(prefix="/roles", tags=["roles"])
READ, WRITE = requires("roles:read"), requires("roles:write")

Writer = Annotated[Caller, WRITE]
Name = Annotated[RoleName, Path(description="The name of the role.", examples=["operator"])]


@router.get("", dependencies=[READ], summary="List roles")
async def list_all_roles(repository: Repository, paging: Paging) -> Page[Role]:
    """Roles by name; admin, operator and viewer are built in."""
    rows = await list_roles(repository, paging.after, paging.size)
    return paging.page(rows, key=lambda row: (row.name,))


@router.post(
    "", status_code=status.HTTP_201_CREATED, summary="Create a role", responses=problems(GrantExceeded, Duplicate)
)
async def add_role(repository: Repository, new: NewRole, caller: Writer, address: Address, response: Response) -> Role:
    """Add a role. A scope reads `noun:verb`, `noun:verb:instance` (`entities:read:customers`), `noun:*` or `*`.

    Nobody gives a scope that he does not hold himself.
    """
    role = await create_role(repository, new, Giver.of(caller, address))
    response.headers["Location"] = f"roles/{role.name}"
    return role


@router.get("/{name}", dependencies=[READ], summary="Read a role")
async def read_role(repository: Repository, name: Name) -> Role:
    """One role with its scopes."""
    return await get_role(repository, name)


@router.put("/{name}", summary="Change a role", responses=problems(GrantExceeded, RoleBuiltIn))
async def put_role(repository: Repository, name: Name, body: RoleBody, caller: Writer, address: Address) -> Role:
    """Let a role that exists allow something else; a built-in one stays as it is.

    Access tokens of all who hold it are refused everywhere within a second; their sessions go on, and a refresh gives
    a token with the new scopes.
    """
    return await change_role(repository, name, body, Giver.of(caller, address))


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a role",
    responses=problems(GrantExceeded, RoleBuiltIn, RoleHeld),
)
async def remove_role(repository: Repository, name: Name, caller: Writer, address: Address) -> None:
    """Delete a role that no user holds."""
    await delete_role(repository, name, Giver.of(caller, address))
