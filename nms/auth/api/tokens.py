"""Tokens over HTTP: log in, refresh, log out, ask what a token is worth, the keys that verify them."""

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from nms.auth.api.forms import body_of, read_form
from nms.auth.keys import publish_keys
from nms.auth.models import Credentials, Introspection, JsonWebKeySet, Revocations, Tokens
from nms.auth.problems import (
    NO_STORE,
    AuthBusy,
    GrantProblem,
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
from nms.common.web import address_of

PUBLIC = frozenset({"/token", "/token/refresh", "/token/revoke", "/.well-known/jwks.json"})
"""Who comes here has no access token yet, or brings the token in the body."""

router = Router(tags=["tokens"])


async def get_issuer(request: Request) -> Issuer:
    """What this process makes tokens with."""
    issuer: Issuer = request.app.state.issuer
    return issuer


Repository = Annotated[AuthRepository, Depends(get_db_repository(AuthRepository))]
Issuing = Annotated[Issuer, Depends(get_issuer)]
Address = Annotated[str, Depends(address_of)]


class LoginForm(BaseModel):
    """A login (RFC 6749 section 4.3.2)."""

    username: str = Field(min_length=1, max_length=320, description="The e-mail address.", examples=["ann@example.org"])
    password: str = Field(min_length=1, max_length=1024, repr=False, examples=["correct horse battery"])
    grant_type: Literal["password"] = "password"
    scope: str = Field("", max_length=2000, description="Less than the account may, or empty for all.")


class RefreshForm(BaseModel):
    """A refresh (RFC 6749 section 6)."""

    refresh_token: str = Field(min_length=1, max_length=200, repr=False, examples=["nmsr_4Zr0c1X9"])
    grant_type: Literal["refresh_token"] = "refresh_token"


class TokenForm(BaseModel):
    """A token that something is wanted of (RFC 7009 section 2.1, RFC 7662 section 2.1)."""

    token: str = Field(
        min_length=1, max_length=8192, repr=False, description="The token itself.", examples=["nmsr_4Zr0c1X9"]
    )
    token_type_hint: str = Field(
        "", max_length=40, description="Taken and not needed: a token tells what it is.", examples=["refresh_token"]
    )


@router.post(
    "/token",
    summary="Log in",
    response_model=Tokens,
    responses=problems(LoginRefused, ScopeRefused, GrantProblem, GrantRefused, TooManyAttempts, AuthBusy, KeySealed),
    openapi_extra=body_of(LoginForm),
)
async def create_token(request: Request) -> Response:
    """Open a session with e-mail and password (OAuth 2.0 password form, as Swagger's Authorize sends it).

    The answer to a wrong password, an unknown or disabled account and one with too many tries is the same 400
    `invalid_grant`. Too many tries from one network are answered 429 with Retry-After.
    """
    form = await read_form(request, LoginForm)
    agent, address = request.headers.get("user-agent", ""), await address_of(request)
    credentials = Credentials(form.username, form.password, form.scope.strip(), address, agent)
    return _hand_out(await log_in(await AuthRepository.open(), request.app.state.issuer, credentials))


@router.post(
    "/token/refresh",
    summary="Refresh",
    response_model=Tokens,
    responses=problems(RefreshRefused, GrantProblem, GrantRefused, KeySealed),
    openapi_extra=body_of(RefreshForm),
)
async def refresh_token(request: Request) -> Response:
    """Exchange a refresh token for the next pair.

    Asking again with the same one within 30 s (AUTH_GRACE_SECONDS), from any number of callers at once, gives the same
    successor; later it is a replay, and the session ends.
    """
    form = await read_form(request, RefreshForm)
    repository, address = await AuthRepository.open(), await address_of(request)
    return _hand_out(await refresh_tokens(repository, request.app.state.issuer, form.refresh_token, address))


def _hand_out(tokens: Tokens) -> Response:
    return Response(tokens.model_dump_json(), headers=NO_STORE, media_type="application/json")


@router.post(
    "/token/revoke",
    summary="Log out",
    status_code=200,
    responses=problems(GrantProblem, TokenTypeRefused),
    openapi_extra=body_of(TokenForm),
)
async def revoke(request: Request, repository: Repository, issuer: Issuing, address: Address) -> None:
    """Make a token worthless (RFC 7009): a refresh token ends its session, and every role knows within a second.

    Answers 200 for anything that is not a token of ours, since nothing of it is good anyway.
    """
    form = await read_form(request, TokenForm)
    await revoke_token(repository, issuer, request.app.verifier, (form.token, address))


@router.post(
    "/introspect",
    dependencies=[requires("tokens:introspect")],
    summary="What a token is worth",
    response_model_exclude_none=True,
    responses=problems(GrantProblem),
    openapi_extra=body_of(TokenForm),
)
async def introspect_token(
    request: Request, response: Response, repository: Repository, issuer: Issuing
) -> Introspection:
    """Whether a token is good, and what it says (RFC 7662); `active: false` and nothing more for any other text."""
    form = await read_form(request, TokenForm)
    response.headers.update(NO_STORE)
    return await introspect(repository, issuer, request.app.verifier, form.token)


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
