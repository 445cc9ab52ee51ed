"""Tokens over HTTP: log in, refresh, log out, ask what a token is worth, the keys that verify them."""

from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Form, Query, Request, Response

from nms.auth.keys import publish_keys
from nms.auth.models import Credentials, Introspection, JsonWebKeySet, Revocations, Tokens
from nms.auth.problems import (
    NO_STORE,
    AuthBusy,
    GrantRefused,
    KeySealed,
    LoginRefused,
    RefreshRefused,
    ScopeRefused,
    TokenTypeRefused,
    TooManyAttempts,
)
from nms.auth.repository import AuthRepository
from nms.auth.revocations import PLACE, list_revocations
from nms.auth.tokens import Issuer, introspect, log_in, refresh_tokens, revoke_token
from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.router import Router

PUBLIC = frozenset({"/token", "/token/refresh", "/token/revoke", "/.well-known/jwks.json"})
"""Who comes here has no access token yet, or brings the token in the body."""

router = Router(tags=["tokens"])


async def get_issuer(request: Request) -> Issuer:
    """What this process makes tokens with."""
    issuer: Issuer = request.app.state.issuer
    return issuer


async def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy the server that runs the app knows (`--forwarded-allow-ips`)."""
    return request.client.host if request.client else ""


Repository = Annotated[AuthRepository, Depends(get_db_repository(AuthRepository))]
Issuing = Annotated[Issuer, Depends(get_issuer)]
Address = Annotated[str, Depends(address_of)]
Given = Annotated[str, Form(min_length=1, max_length=8192, description="The token itself.", examples=["nmsr_4Zr0c1X9"])]
Hint = Annotated[
    str | None,
    Form(max_length=40, description="Taken and not needed: a token tells what it is.", examples=["refresh_token"]),
]


@router.post(
    "/token",
    summary="Log in",
    responses=problems(LoginRefused, ScopeRefused, GrantRefused, TooManyAttempts, AuthBusy, KeySealed),
)
async def create_token(
    request: Request,
    response: Response,
    repository: Repository,
    issuer: Issuing,
    address: Address,
    username: Annotated[
        str, Form(min_length=1, max_length=320, description="The e-mail address.", examples=["ann@example.org"])
    ],
    password: Annotated[str, Form(min_length=1, max_length=1024, examples=["correct horse battery"])],
    grant_type: Annotated[str, Form(max_length=40)] = "password",
    scope: Annotated[str, Form(max_length=2000, description="Less than the account may, or empty for all.")] = "",
) -> Tokens:
    """Open a session with e-mail and password (OAuth 2.0 password form, as Swagger's Authorize sends it).

    The answer to a wrong password, an unknown or disabled account and one with too many tries is the same 400
    `invalid_grant`. Too many tries from one network are answered 429 with Retry-After.
    """
    if grant_type != "password":
        raise GrantRefused("This address takes grant_type=password only.")
    agent = request.headers.get("user-agent", "")
    response.headers.update(NO_STORE)
    return await log_in(repository, issuer, Credentials(username, password, scope.strip(), address, agent))


@router.post("/token/refresh", summary="Refresh", responses=problems(RefreshRefused, GrantRefused, KeySealed))
async def refresh_token(
    response: Response,
    repository: Repository,
    issuer: Issuing,
    address: Address,
    refresh_token: Annotated[str, Form(min_length=1, max_length=200, examples=["nmsr_4Zr0c1X9"])],
    grant_type: Annotated[str, Form(max_length=40)] = "refresh_token",
) -> Tokens:
    """Exchange a refresh token for the next pair.

    Asking again with the same one within 30 s (AUTH_GRACE_SECONDS), from any number of callers at once, gives the same
    successor; later it is a replay, and the session ends.
    """
    if grant_type != "refresh_token":
        raise GrantRefused("This address takes grant_type=refresh_token only.")
    response.headers.update(NO_STORE)
    return await refresh_tokens(repository, issuer, refresh_token, address)


@router.post("/token/revoke", summary="Log out", status_code=200, responses=problems(TokenTypeRefused))
async def revoke(
    request: Request,
    repository: Repository,
    issuer: Issuing,
    address: Address,
    token: Given,
    token_type_hint: Hint = None,  # noqa: ARG001
) -> None:
    """Make a token worthless (RFC 7009): a refresh token ends its session, and every role knows within a second.

    Answers 200 for anything that is not a token of ours, since nothing of it is good anyway.
    """
    await revoke_token(repository, issuer, request.app.verifier, (token, address))


@router.post(
    "/introspect",
    dependencies=[requires("tokens:introspect")],
    summary="What a token is worth",
    response_model_exclude_none=True,
)
async def introspect_token(
    request: Request,
    response: Response,
    repository: Repository,
    issuer: Issuing,
    token: Given,
    token_type_hint: Hint = None,  # noqa: ARG001
) -> Introspection:
    """Whether a token is good, and what it says (RFC 7662); `active: false` and nothing more for any other text."""
    response.headers.update(NO_STORE)
    return await introspect(repository, issuer, request.app.verifier, token)


@router.get("/.well-known/jwks.json", summary="The keys that verify access tokens", responses=problems(KeySealed))
async def read_keys(response: Response, repository: Repository, issuer: Issuing) -> JsonWebKeySet:
    """The public keys of access tokens as a JWK set (RFC 7517); none is made while JWT_SECRET_KEY signs (HS256)."""
    # Makes the first key; those that are there are public whatever SECRETS_KEY is set.
    with suppress(KeySealed):
        await issuer.keyring.signer(repository)
    response.headers["Cache-Control"] = "public, max-age=60"
    return await publish_keys(repository)


@router.get("/revocations", dependencies=[requires("revocations:read")], summary="What was revoked since")
async def read_revocations(
    repository: Repository,
    since: Annotated[
        str | None, Query(pattern=PLACE, max_length=60, description="`next` of an earlier answer.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Revocations of an answer.")] = 1000,
) -> Revocations:
    """Revocations in the order they were made, from a place on; one that commits late is never missed.

    Roles of NMS hear of them from the database; this is for services of your own that verify tokens themselves.
    """
    return await list_revocations(repository, since, limit)
