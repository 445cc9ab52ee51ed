"""Sessions over HTTP: one's own."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path

from nms.auth.api.tokens import Address, Repository
from nms.auth.models import Actor, Session
from nms.auth.sessions import end_own_session, list_sessions
from nms.common.answers import problems
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router

router = Router(prefix="/sessions", tags=["sessions"])


def account_of(caller: Caller) -> UUID:
    """The account that a caller's session is of; raises NotFound for a machine and the operator of the box."""
    if caller.session is None:
        raise NotFound("This token is of no session.")
    try:
        return UUID(caller.subject)
    except ValueError:
        # Under JWT_ALGORITHM=HS256 whoever has the key can sign what auth never would.
        raise NotFound("This token is of no account here.") from None


@router.get("", summary="List your sessions", responses=problems(NotFound))
async def list_own(
    repository: Repository, paging: Paging, caller: Annotated[Caller, requires("me:read")]
) -> Page[Session]:
    """Your logins that are still good, the newest first; `current` is the one of this request."""
    rows = await list_sessions(repository, account_of(caller), paging.after, paging.size)

    def show(row: Session) -> Any:
        return row.model_copy(update={"current": str(row.id) == caller.session})

    return paging.page(rows, key=lambda row: (row.created_at, row.id), show=show)


@router.delete("/{session}", status_code=204, summary="End one of your sessions")
async def end_own(
    repository: Repository,
    address: Address,
    caller: Annotated[Caller, requires("me:write")],
    session: Annotated[UUID, Path(description="The id of the session.")],
) -> None:
    """End a session: its refresh token is worthless at once, its access tokens everywhere within a second."""
    await end_own_session(repository, account_of(caller), session, Actor(caller.name, address))
