"""Stored secrets over HTTP: they go in and never come out."""

import re
from typing import Annotated, Final

from fastapi import Depends, Header, Path, Response, status

from nms.cfg.api.door import Router
from nms.cfg.problems import SecretInUse, SecretMoved
from nms.cfg.rotation import Rotation, rotate_for
from nms.cfg.secret import NewSecret, Secret, SecretRepository
from nms.cfg.secrets import NEW, get_secret, list_secrets, remove_secret, set_secret
from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.problem import Malformed, Pointer

router = Router(prefix="/secrets", tags=["secrets"])

READ, WRITE = requires("config:read"), requires("secrets:write")
Repository = Annotated[SecretRepository, Depends(get_db_repository(SecretRepository))]
Writer = Annotated[Caller, WRITE]
Name = Annotated[str, Path(pattern="^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=40)]
_TAG: Final = re.compile(r'"([0-9]{1,9})"')
_NO_VERSION: Final = -1
"""For `If-Match: "0"`: a tag that no secret ever has, so that nothing is made on it (RFC 9110, section 13.1.1)."""


async def read_base(
    if_match: Annotated[str | None, Header(description='The version in quotes: `"3"`.', max_length=20)] = None,
    if_none_match: Annotated[
        str | None, Header(description="`*`: only where there is none yet.", max_length=20)
    ] = None,
) -> int | None:
    """The version that a secret must have, NEW where there must be none, None where any will do; raises Malformed."""
    tag = None if if_match is None else _TAG.fullmatch(if_match)
    if if_match is not None and tag is None:
        raise _refuse("/If-Match", 'this is a version in quotes, such as `"3"`')
    if if_none_match is not None and (if_none_match != "*" or tag is not None):
        raise _refuse("/If-None-Match", "this is `*`, and stands without If-Match")
    return NEW if if_none_match else None if tag is None else int(tag[1]) or _NO_VERSION


Base = Annotated[int | None, Depends(read_base)]


@router.get("", dependencies=[READ], summary="List secrets")
async def show_secrets(repository: Repository, paging: Paging) -> Page[Secret]:
    """Secrets by name, with the documents that name them; values are never shown."""
    rows = await list_secrets(repository, paging.after, paging.size)
    return paging.page(rows, key=lambda row: (row.name,))


@router.get("/{name}", dependencies=[READ], summary="Read what is known of a secret")
async def show_secret(repository: Repository, name: Name, response: Response) -> Secret:
    """One secret, without its value."""
    return _tagged(await get_secret(repository, name), response)


@router.put("/{name}", summary="Set a secret", responses=problems(SecretMoved))
async def put_secret(  # the parts of a request, each by its name
    repository: Repository, name: Name, body: NewSecret, caller: Writer, base: Base, response: Response
) -> Secret:
    """Store a value as the next version; pipelines take it up at their next connection, endpoints at once."""
    return _tagged(await set_secret(repository, name, body.value.get_secret_value(), caller.subject, base), response)


@router.post("/rotation", dependencies=[WRITE], summary="Seal everything anew")
async def rotate_secrets() -> Rotation:
    """Seal with the key of today what an earlier one sealed, for 5 seconds; ask until it is `done`, while all goes on.

    What this role's login cannot write has a `problem`: `nms secrets rotate` does it where that login is.
    """
    return await rotate_for()


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Remove a secret",
    responses=problems(SecretInUse, SecretMoved),
)
async def delete_secret(repository: Repository, name: Name, caller: Writer, base: Base) -> None:
    """Forget a secret that no document names."""
    await remove_secret(repository, name, caller.subject, base)


def _tagged(secret: Secret, response: Response) -> Secret:
    response.headers["ETag"] = f'"{secret.version}"'
    return secret


def _refuse(pointer: str, sentence: str) -> Malformed:
    return Malformed("The condition cannot be read.", pointers=[Pointer(pointer, sentence, "header")])
