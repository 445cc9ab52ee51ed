"""Oneself over HTTP: who am I, and my password."""

from typing import Annotated

from fastapi import status

from nms.auth.api.sessions import account_of
from nms.auth.api.tokens import Address, Repository
from nms.auth.api.users import Hashing
from nms.auth.passwords import change_own_password
from nms.auth.problems import AuthBusy, PasswordRefused, PasswordWrong, TooManyAttempts
from nms.auth.role import Giver
from nms.auth.user import Me, PasswordChange
from nms.auth.users import get_user
from nms.common.answers import problems
from nms.common.guard import Caller, requires
from nms.common.problem import NotFound
from nms.common.router import Router

REFUSALS = (NotFound, PasswordWrong, PasswordRefused, TooManyAttempts, AuthBusy)

router = Router(prefix="/me", tags=["me"])


@router.get("", summary="Who am I", responses=problems(NotFound))
async def read_me(repository: Repository, caller: Annotated[Caller, requires("me:read")]) -> Me:
    """The user that the token speaks for, and the scopes that the token has."""
    user = await get_user(repository, account_of(caller))
    return Me(**user.model_dump(), scopes=sorted(caller.scopes))


@router.put(
    "/password", status_code=status.HTTP_204_NO_CONTENT, summary="Change my password", responses=problems(*REFUSALS)
)
async def change_password(
    repository: Repository,
    passwords: Hashing,
    change: PasswordChange,
    caller: Annotated[Caller, requires("me:write")],
    address: Address,
) -> None:
    """Take a new password for the current one. All other sessions end; this one goes on.

    A wrong current password counts as a failed login does: after several tries one waits.
    """
    await change_own_password(repository, passwords, account_of(caller), change, Giver.of(caller, address))
