"""The guard: who calls, and whether the scopes of the token allow it. Deny by default.

A token is a JWT signed with HS256 and JWT_SECRET_KEY, `typ: at+jwt` (RFC 9068). A scope is `noun:verb`, such as
`pipelines:read`. A token may hold wildcards: `pipelines:*` is every verb of one noun, `*` is everything. A route
always asks for one exact scope.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jwt
from fastapi import FastAPI, Request, Security
from fastapi.openapi.models import HTTPBearer as BearerModel
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase

from nms.common.problem import Problem

ALGORITHM = "HS256"
LONGEST_TOKEN = 8192
LEEWAY_SECONDS = 10
REMEMBERED_TOKENS = 4096

PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/{asset}"})
"""What every role answers without a token; a role may add its own (`Role.public`)."""

_CLAIMS = ["exp", "iat", "nbf", "jti", "sub", "iss", "aud", "scope"]
_HEADERS = frozenset({"alg", "typ", "kid"})
_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_SCOPE = re.compile(r"[a-z][a-z0-9-]*:[a-z][a-z0-9-]*")
_GRANT = re.compile(r"\*|[a-z][a-z0-9-]*:(?:\*|[a-z][a-z0-9-]*)")


class Unauthenticated(Problem):
    """No token, or one that is not ours (RFC 6750 section 3)."""

    status, code, title = 401, "unauthenticated", "Who calls is not known"
    remedy = "Send `Authorization: Bearer TOKEN`; `nms token --scope ...` mints one for the operator of this machine."
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer realm="nms"'})


class TokenRefused(Unauthenticated):
    """The token is malformed, expired, or not signed by us for this service."""

    code, title = "token-refused", "The token is refused"
    remedy = "Take a new token; this one will not be accepted again."
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer realm="nms", error="invalid_token"'})


class Forbidden(Problem):
    """The token is good but lacks the scope of this route."""

    status, code, title = 403, "scope-missing", "The token does not allow this"
    remedy = "Take a token with the scope that `scope` names."

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}.", scope=scope)
        self.headers = {"WWW-Authenticate": f'Bearer realm="nms", error="insufficient_scope", scope="{scope}"'}


class UnguardedRoute(Problem):
    """A route asks for no scope and is not on the public list; the role does not start."""

    code, title = "unguarded-route", "A route has no scope"
    remedy = "Give the route `requires(...)`, or put its path on the public list of its role."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the subject of the token and what it may do."""

    subject: str
    token_id: str
    scopes: frozenset[str]
    expires_at: int

    def may(self, scope: str) -> bool:
        """Whether the token holds this scope, itself or by `noun:*` or `*`."""
        held = self.scopes
        return scope in held or "*" in held or f"{scope.partition(':')[0]}:*" in held


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of our key table: the algorithm belongs to the key, never to the token."""

    secret: bytes
    algorithm: str = ALGORITHM


class Verifier:
    """Verifies a token once and remembers it until it expires, at most REMEMBERED_TOKENS of them."""

    def __init__(
        self, keys: Mapping[str | None, Key], *, issuer: str, audience: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._issuer, self._audience = issuer, audience
        self._clock = clock
        self._known: dict[str, Caller] = {}

    def verify(self, token: str) -> Caller:
        """The caller a token speaks for; raises TokenRefused."""
        known = self._known.get(token)
        if known is not None:
            if self._clock() < known.expires_at + LEEWAY_SECONDS:
                return known
            del self._known[token]
        caller = self._check(token)
        if len(self._known) >= REMEMBERED_TOKENS:
            del self._known[next(iter(self._known))]
        self._known[token] = caller
        return caller

    def forget(self, token_ids: Iterable[str]) -> None:
        """Verify these tokens anew when they come again (they were revoked)."""
        gone = set(token_ids)
        for token in [token for token, caller in self._known.items() if caller.token_id in gone]:
            del self._known[token]

    def _check(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused(f"The token is longer than {LONGEST_TOKEN} bytes.")
        try:
            key = self._key_for(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key.secret,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                # Times are checked below against our clock, so that tests need not wait for them.
                options={"require": _CLAIMS, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError as error:
            raise TokenRefused(_REASONS.get(type(error), "The token is malformed or not signed by us.")) from None
        except (ValueError, TypeError, RecursionError):
            raise TokenRefused("The token is malformed.") from None
        return self._caller_of(claims)

    def _key_for(self, header: Mapping[str, Any]) -> Key:
        """Our key for this header. We issue three header fields; any other (jku, jwk, x5u, crit, ...) is refused."""
        if not header.keys() <= _HEADERS:
            raise TokenRefused("The token has header fields that we never issue.")
        kind, name = header.get("typ"), header.get("kid")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenRefused("The token is not an access token (`typ` must be at+jwt).")
        key = self._keys.get(name) if name is None or isinstance(name, str) else None
        if key is None or header.get("alg") != key.algorithm:
            raise TokenRefused("The token is not signed with a key and algorithm of ours.")
        return key

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        for name in ("exp", "iat", "nbf"):
            if type(claims[name]) is not int or not 0 <= claims[name] < 2**53:
                raise TokenRefused(f"The claim {name} is not a time in seconds.")
        for name in ("sub", "jti", "scope"):
            if not isinstance(claims[name], str):
                raise TokenRefused(f"The claim {name} is not a text.")
        now = self._clock()
        if now >= claims["exp"] + LEEWAY_SECONDS:
            raise TokenRefused("The token is expired.")
        if now < max(claims["nbf"], claims["iat"]) - LEEWAY_SECONDS:
            raise TokenRefused("The token is not valid yet.")
        return Caller(claims["sub"], claims["jti"], frozenset(claims["scope"].split()), claims["exp"])


_REASONS: Mapping[type[Exception], str] = {
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.InvalidIssuerError: "The token is of another issuer.",
    jwt.InvalidSignatureError: "The token is not signed by us.",
    jwt.MissingRequiredClaimError: "The token lacks a claim that we always issue.",
}


class Guard(SecurityBase):
    """The dependency behind `requires`: it knows one scope and answers with the caller."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.model = BearerModel(bearerFormat="JWT", description=(__doc__ or "").partition("\n\n")[2].strip())
        self.scheme_name = "token"

    async def __call__(self, request: Request) -> Caller:
        """Let the caller of this request in; raises Unauthenticated, TokenRefused, Forbidden."""
        caller = identify(request)
        if not caller.may(self.scope):
            raise Forbidden(self.scope)
        return caller


def requires(scope: str) -> Any:
    """A dependency that asks for one scope: `caller: Caller = requires("pipelines:read")`, or in `dependencies=`."""
    if not _SCOPE.fullmatch(scope):
        raise ValueError(f"a scope reads noun:verb, not {scope!r}")
    return Security(Guard(scope), scopes=[scope])


def identify(request: Request) -> Caller:
    """Who calls, whatever the scopes; raises Unauthenticated or TokenRefused."""
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not given:
        raise Unauthenticated("This needs a token.")
    scheme, _, token = given[0].partition(b" ")
    if len(given) > 1 or scheme.lower() != b"bearer" or not token.isascii():
        raise TokenRefused("Send exactly one Authorization header, with the scheme Bearer.")
    verifier: Verifier = request.app.state.verifier
    return verifier.verify(token.decode("ascii").strip())


def is_grant(scope: str) -> bool:
    """Whether a token may hold this: `noun:verb`, `noun:*` or `*`."""
    return _GRANT.fullmatch(scope) is not None


def list_unguarded(app: FastAPI, public: Iterable[str] = ()) -> list[str]:
    """Every route of an app, as `METHODS path`, that neither asks for a scope nor stands on the public list."""
    allowed = PUBLIC_PATHS | frozenset(public)
    found = []
    for context in iter_route_contexts(app.routes):
        path = context.path or repr(context.original_route)
        dependant = getattr(context, "dependant", None)
        if path not in allowed and not (dependant is not None and _has_guard(dependant)):
            found.append(f"{','.join(sorted(context.methods or ())) or 'ANY'} {path}")
    return found


def _has_guard(dependant: Any) -> bool:
    return isinstance(dependant.call, Guard) or any(_has_guard(child) for child in dependant.dependencies)
