"""Users over HTTP: administrators list, create, change and delete them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Depends, Path, Query, Response, status

from nms.auth.api.tokens import Address, Repository
from nms.auth.password import Passwords, get_passwords
from nms.auth.problems import AuthBusy, GrantExceeded, LastAdmin, PasswordRefused, UserMoved
from nms.auth.role import Giver, RoleName
from nms.auth.user import NewUser, User, UserChange
from nms.auth.users import change_user, create_user, delete_user, get_user, list_users
from nms.common.answers import problems
from nms.common.db.problems import Duplicate
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.router import Router

router = Router(prefix="/users", tags=["users"])
READ, WRITE = requires("users:read"), requires("users:write")

Writer = Annotated[Caller, WRITE]
Hashing = Annotated[Passwords, Depends(get_passwords)]
Account = Annotated[UUID, Path(alias="id", description="The id of the user.")]
REFUSALS = (PasswordRefused, GrantExceeded, Duplicate, AuthBusy)
_CHANGES: Any = {
    "disable": {"value": {"disabled": True}},
    "roles": {"value": {"roles": ["viewer"], "revision": 3}},
    "password": {"value": {"password": "four words by chance"}},
}


@router.get("", dependencies=[READ], summary="List users")
async def list_all_users(
    repository: Repository,
    paging: Paging,
    email: Annotated[str | None, Query(max_length=254, description="The one with this address, in any case.")] = None,
    role: Annotated[RoleName | None, Query(description="Those who hold this role.")] = None,
    disabled: Annotated[bool | None, Query(description="Those who are disabled, or those who are not.")] = None,
) -> Page[User]:
    """Users, the oldest first."""
    rows = await list_users(repository, (email, role, disabled), paging.after, paging.size)
    return paging.page(rows, key=lambda row: (row.created_at, row.id))


@router.post("", status_code=status.HTTP_201_CREATED, summary="Create a user", responses=problems(*REFUSALS))
async def add_user(
    repository: Repository, passwords: Hashing, new: NewUser, caller: Writer, address: Address, response: Response
) -> User:
    """Add a user who can log in at once.

    The e-mail address is unique in its normal form: case, Unicode spelling and IDN make no other address. Nobody
    gives a role with scopes that he does not hold himself.
    """
    user = await create_user(repository, passwords, new, Giver.of(caller, address))
    response.headers["Location"] = f"users/{user.id}"
    return user


@router.get("/{id}", dependencies=[READ], summary="Read a user")
async def read_user(repository: Repository, account: Account) -> User:
    """One user with roles and times."""
    return await get_user(repository, account)


@router.patch("/{id}", summary="Change a user", responses=problems(*REFUSALS, UserMoved, LastAdmin))
async def patch_user(
    repository: Repository,
    passwords: Hashing,
    account: Account,
    change: Annotated[UserChange, Body(openapi_examples=_CHANGES)],
    caller: Writer,
    address: Address,
) -> User:
    """Change name, roles or password of a user, disable or enable it; what is left out stays.

    Access tokens made before are refused everywhere within a second. A new password and disabling end all sessions;
    after a change of roles they go on, and a refresh gives a token with the new scopes. The last user who holds admin
    and can log in keeps it.
    """
    return await change_user(repository, passwords, account, change, Giver.of(caller, address))


@router.delete(
    "/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a user",
    responses=problems(LastAdmin, GrantExceeded),
)
async def remove_user(repository: Repository, account: Account, caller: Writer, address: Address) -> None:
    """Delete a user; its sessions end, its tokens are refused everywhere within a second. The audit keeps its name."""
    await delete_user(repository, account, Giver.of(caller, address))
