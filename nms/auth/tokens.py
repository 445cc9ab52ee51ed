"""Tokens: what a login, a refresh, a logout and a question about a token come to."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import isinf
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from nms.auth import audit, sessions, throttle
from nms.auth.email import is_address, key_of
from nms.auth.keys import Keyring, Signer
from nms.auth.models import Actor, Credentials, Introspection, Login, Standing, Tokens
from nms.auth.password import Passwords
from nms.auth.problems import AuthBusy, LoginRefused, RefreshRefused, ScopeRefused, TokenTypeRefused, TooManyAttempts
from nms.auth.repository import AuthRepository
from nms.auth.revocations import revoke
from nms.auth.sessions import Refresh, RefreshKey
from nms.auth.settings import AuthSettings
from nms.common import service_token
from nms.common.guard import Caller, TokenRefused, is_grant
from nms.common.seal import Sealer
from nms.common.settings import Settings, read_settings
from nms.common.verifier import Verifier

SELF_SCOPES = ("me:read", "me:write")
"""What everybody may who has a session: look at it, end it, change the own password."""

CLIENT = "nms"
"""`client_id` of access tokens, which RFC 9068 asks for: there is one client, NMS itself."""

TRIES = 3
"""A password is looked at again when its hash was renewed by another login meanwhile."""


@asynccontextmanager
async def enter_issuer(app: Any) -> AsyncIterator[None]:
    """Give an app what it makes tokens with, as long as it lives."""
    settings: Settings = app.state.settings
    secrets = settings.sealing_keys()
    shared = settings.signing_key() if settings.jwt_algorithm == "HS256" else None
    keyring = Keyring(Sealer(*secrets), shared, app.verifier.knows)
    refresh_key = RefreshKey(*secrets)
    app.state.issuer = Issuer(settings, read_settings(AuthSettings), keyring, refresh_key, app.state.passwords)
    yield


@dataclass(frozen=True, slots=True)
class Issuer:
    """What it takes to make tokens: keys, names, lifetimes, and the hashing of passwords."""

    settings: Settings
    role: AuthSettings
    keyring: Keyring
    refresh_key: RefreshKey
    passwords: Passwords

    def issue(self, signer: Signer, standing: Standing, refresh: Refresh) -> Tokens:
        """Both tokens of a session as it stands; the access token never outlives it."""
        now = int(time.time())
        expires = min(now + self.role.access_seconds, int(standing.expires_at.timestamp()))
        scope = " ".join(scopes_of(standing))
        claims = {
            "iss": self.settings.jwt_issuer,
            "aud": self.settings.jwt_audience,
            "sub": str(standing.account_id),
            "client_id": CLIENT,
            "sid": str(standing.session_id),
            "rev": standing.revision,
            "scope": scope,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "jti": token_urlsafe(12),
        }
        return Tokens(
            access_token=signer.sign(claims),
            expires_in=expires - now,
            refresh_token=self.refresh_key.sign(refresh),
            scope=scope,
        )


def scopes_of(standing: Standing) -> list[str]:
    """What a session may do now: all that its account may, or what of that it once asked for."""
    held = frozenset(["*"]) if "*" in standing.scopes else frozenset({*standing.scopes, *SELF_SCOPES})
    if standing.scope is None:
        return sorted(held)
    holder = Caller(str(standing.account_id), "", held, 0)
    return [scope for scope in standing.scope.split() if holder.covers([scope])]


async def log_in(repository: AuthRepository, issuer: Issuer, credentials: Credentials) -> Tokens:
    """Open a session for an e-mail and a password; raises LoginRefused, ScopeRefused, TooManyAttempts, AuthBusy.

    Whatever the reason of a refusal, the same work was done before it.
    """
    key = key_of(credentials.email)
    # People type passwords into the field above: the audit keeps nothing that is no address.
    actor = Actor(credentials.email if is_address(key) else "no address", credentials.address)
    try:
        admission = await throttle.admit(repository, key, credentials.address)
    except TooManyAttempts as held:
        await audit.note_held(repository, "session.open", actor, held)
        raise
    # Asked for first: what cannot be signed must open nothing.
    signer = await issuer.keyring.signer(repository)
    try:
        _check_form(credentials.scope)
        opened = await _let_in(repository, issuer, credentials, (actor, admission))
    except (LoginRefused, ScopeRefused) as refused:
        await audit.note_refused(repository, "session.open", actor, refused.account, reason=refused.reason)
        raise
    except AuthBusy:
        await throttle.take_back(repository, admission)
        await audit.note_refused(repository, "session.open", actor, reason="busy")
        raise
    return issuer.issue(signer, *opened)


async def _let_in(
    repository: AuthRepository, issuer: Issuer, credentials: Credentials, by: tuple[Actor, throttle.Admission]
) -> tuple[Standing, Refresh]:
    held, key = by[1].held, by[1].attempt.email_key
    for _ in range(TRIES):
        login = await repository.get_login(key)
        verdict = await issuer.passwords.verify(None if held or login is None else login.password, credentials.password)
        if login is None or login.disabled or held or not verdict.good:
            raise LoginRefused(_reason(login, held=held), "" if login is None else str(login.id))
        opened = await _open(repository, issuer, credentials, login, by)
        if opened is not None:
            if verdict.stale:
                await _renew_hash(repository, issuer, login, credentials.password)
            return opened
    raise LoginRefused("changed")


async def _open(
    repository: AuthRepository,
    issuer: Issuer,
    credentials: Credentials,
    login: Login,
    by: tuple[Actor, throttle.Admission],
) -> tuple[Standing, Refresh] | None:
    """A session; None when the account changed since its password was looked at, such as by a renewed hash."""
    actor, admission = by
    async with repository.transaction() as tx:
        opened = await sessions.open_session(tx, login, credentials, issuer.role)
        if opened is None:
            return None
        standing, _ = opened
        if credentials.scope and set(credentials.scope.split()) != set(scopes_of(standing)):
            raise ScopeRefused("The account does not have every scope that was asked for.", str(login.id))
        await audit.note(tx, "session.open", actor, str(login.id), session=str(standing.session_id))
        await sessions.end_surplus(tx, login.id, actor)
        await throttle.welcome(tx, admission, login.id)
    return opened


async def _renew_hash(repository: AuthRepository, issuer: Issuer, login: Login, password: str) -> None:
    """Keep the password under newer parameters; where there is no room for it now, the next login will."""
    with suppress(AuthBusy):
        await repository.update_account_hash(login, await issuer.passwords.hash(password))


def _check_form(scope: str) -> None:
    """Before the password is looked at, so that a malformed scope tells nothing of it."""
    if not all(is_grant(one) for one in scope.split()):
        raise ScopeRefused("What was asked for is no scope.")


async def refresh_tokens(repository: AuthRepository, issuer: Issuer, token: str, address: str) -> Tokens:
    """The next tokens of a session; raises RefreshRefused."""
    refresh = issuer.refresh_key.read(token)
    actor = Actor(f"session {refresh.session}", address)
    # Asked for first: what cannot be signed must not use the token up.
    signer = await issuer.keyring.signer(repository)
    standing, successor = await sessions.use_refresh(repository, refresh, actor, issuer.role)
    return issuer.issue(signer, standing, successor)


async def revoke_token(repository: AuthRepository, issuer: Issuer, verifier: Verifier, given: tuple[str, str]) -> None:
    """Log out (RFC 7009) with a token from an address; any other text is let be.

    A token of a session ends it (RFC 7009 section 2.1 lets an access token do so, too); one of an operator, itself.
    """
    token, address = given
    if token.startswith(service_token.PREFIX):
        raise TokenTypeRefused("A service token is revoked by those who manage it.")
    if token.startswith(sessions.PREFIX):
        try:
            refresh = issuer.refresh_key.read(token)
        except RefreshRefused:
            return
        used = await repository.get_session_standing(refresh.session, refresh.seed_hash)
        if used is not None:
            actor = Actor(str(used.standing.account_id), address)
            await sessions.end_session(repository, refresh.session, "logged out", actor)
        return
    try:
        caller = await verifier.identify_token(token)
    except TokenRefused:
        return
    if caller.session is not None:
        try:
            session = UUID(caller.session)
        except ValueError:
            # Under JWT_ALGORITHM=HS256 whoever has the key can sign a session that is none.
            return
        await sessions.end_session(repository, session, "logged out", Actor(caller.name, address))
        return
    async with repository.transaction() as tx:
        await revoke(tx, "token", caller.token_id, expires_at=caller.expires_at)
        await audit.note(tx, "token.revoke", Actor(caller.name, address), caller.token_id)


async def introspect(repository: AuthRepository, issuer: Issuer, verifier: Verifier, token: str) -> Introspection:
    """What a token says, as far as it is good (RFC 7662)."""
    if token.startswith(sessions.PREFIX):
        return await _introspect_refresh(repository, issuer, token)
    try:
        caller = await verifier.identify_token(token)
    except TokenRefused:
        return Introspection(active=False)
    return Introspection(
        active=True,
        scope=" ".join(sorted(caller.scopes)),
        sub=caller.subject,
        token_type="Bearer",  # noqa: S106 - the type, not a token
        exp=None if isinf(caller.expires_at) else int(caller.expires_at),
        iss=issuer.settings.jwt_issuer,
        aud=issuer.settings.jwt_audience,
        jti=caller.token_id,
        sid=caller.session,
    )


async def _introspect_refresh(repository: AuthRepository, issuer: Issuer, token: str) -> Introspection:
    try:
        refresh = issuer.refresh_key.read(token)
    except RefreshRefused:
        return Introspection(active=False)
    used = await repository.get_session_standing(refresh.session, refresh.seed_hash)
    if used is None or not used.alive or refresh.generation < used.generation:
        return Introspection(active=False)
    standing = used.standing
    return Introspection(
        active=True,
        scope=" ".join(scopes_of(standing)),
        sub=str(standing.account_id),
        token_type="refresh_token",  # noqa: S106 - the type, not a token
        exp=int(standing.expires_at.timestamp()),
        iss=issuer.settings.jwt_issuer,
        sid=str(standing.session_id),
    )


def _reason(login: Login | None, *, held: bool) -> str:
    if held:
        return "held"
    if login is None:
        return "unknown"
    return "disabled" if login.disabled else "password"
