"""The guard: who calls, and whether the caller's scopes allow it. Deny by default.

A route asks for one scope: `noun:verb` such as `pipelines:read`, or `noun:verb:instance` such as
`entities:read:customers`. A caller holds grants: scopes, or the wildcards `noun:*` (every verb of one noun)
and `*` (everything); `noun:verb` allows every instance. A route that shows what the caller may see of many instances
asks for `noun:verb` of any of them.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer as BearerModel
from fastapi.security.base import SecurityBase

from nms.common.problem import NOTHING_HERE, NotFound, Problem

PASSWORD, BEARER = "token", "bearer"
"""The two ways to bear a token in the OpenAPI document."""

_WORD = r"[a-z][a-z0-9-]*"
_INSTANCE = r"[a-z0-9][a-z0-9_-]{0,99}"
_ASKED = re.compile(rf"{_WORD}:{_WORD}(?::(?:{_INSTANCE}|\{{[a-z_]+\}}))?")
_GRANT = re.compile(rf"\*|{_WORD}:(?:\*|{_WORD}(?::{_INSTANCE})?)")
_KNOWN_INSTANCE = re.compile(_INSTANCE)


class Unauthenticated(Problem):
    """No token, or one that is not ours (RFC 6750 section 3)."""

    status, code, title = 401, "unauthenticated", "Who calls is not known"
    remedy = "Send `Authorization: Bearer TOKEN`; the role auth gives one at `/token`."
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer realm="nms"'})


class TokenRefused(Unauthenticated):
    """The token is malformed, expired, revoked, or not signed by us for this service."""

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


class Kind(StrEnum):
    """What kind of caller a token speaks for."""

    USER = "user"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls and what it may do.

    `subject` is the account id of a user, the name of a service token, or what `nms token` was told for an operator.
    `token_id` is the `jti`, or the id of the service token; `expires_at` is in seconds since 1970. A user's token
    knows its `session` and the `revision` of the account it was made under; a signed one the `key` that signed it.
    """

    subject: str
    token_id: str
    scopes: frozenset[str]
    expires_at: float
    kind: Kind = Kind.OPERATOR
    session: str | None = None
    revision: int | None = None
    key: str | None = None
    issued_at: int = 0

    @property
    def name(self) -> str:
        """Who it is, so that no kind of caller can be taken for another one: the id of an account, `service:ci`."""
        return self.subject if self.kind is Kind.USER else f"{self.kind.value}:{self.subject}"

    def may(self, scope: str) -> bool:
        """Whether the grants allow this scope: it itself, `noun:verb` for an instance, `noun:*` or `*`."""
        held = self.scopes
        if scope in held or "*" in held:
            return True
        noun, _, rest = scope.partition(":")
        verb, colon, _ = rest.partition(":")
        return f"{noun}:*" in held or (colon != "" and f"{noun}:{verb}" in held)

    def may_any(self, scope: str) -> bool:
        """Whether the grants allow `noun:verb` for every instance, or for one at least."""
        return self.may(scope) or any(held.startswith(f"{scope}:") for held in self.scopes)

    def covers(self, grants: Iterable[str]) -> bool:
        """Whether everything that these grants allow is allowed to this caller too: nobody gives more than he has."""
        return all(is_grant(grant) and self.may(grant) for grant in grants)


class Identifier(Protocol):
    """What knows callers by their token: the Verifier of a role."""

    def recall(self, given: bytes | None) -> Caller | None:
        """The caller of an Authorization header that was verified before and is still good."""

    async def identify(self, given: bytes) -> Caller:
        """The caller of an Authorization header; raises TokenRefused."""


class Guard(SecurityBase):
    """The dependency behind `requires`: it knows one scope and answers with the caller."""

    def __init__(
        self, scope: str, *, seen_by: str | None = None, of_any: bool = False, also: str | None = None
    ) -> None:
        self.scope, self._also = scope, also
        self.scopes = (scope,) if also is None else (scope, also)
        # FastAPI documents a guard that it solves itself by these two; `reference.with_logins` says the rest.
        self.model, self.scheme_name = BearerModel(), PASSWORD
        self._seen_by, self._of_any = seen_by, of_any
        noun, verb = scope.split(":")[:2]
        self._enough = frozenset({scope, f"{noun}:{verb}", f"{noun}:*", "*"})

    def recall(self, scope: MutableMapping[str, Any]) -> Caller | None:
        """The caller of an ASGI scope when that takes no more than looking it up; else None: call the guard."""
        given = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if given is not None:
                    return None
                given = value
        return self.recall_by(scope["app"].verifier, given)

    def recall_by(self, verifier: Identifier, given: bytes | None) -> Caller | None:
        """The caller of the one Authorization header of a request, as `recall` knows it."""
        caller = verifier.recall(given)
        return None if caller is None or self._enough.isdisjoint(caller.scopes) else caller

    async def __call__(self, request: Request) -> Caller:
        """Let the caller of this request in; raises Unauthenticated, TokenRefused, Forbidden, NotFound."""
        caller = await identify(request)
        self.check(caller, request.path_params)
        return caller

    def check(self, caller: Caller, parameters: Mapping[str, Any]) -> None:
        """Let this caller in to the instance that the parameters of a path name; raises Forbidden, NotFound."""
        scope = _fill(self.scope, parameters)
        if caller.may(scope) or (self._of_any and caller.may_any(scope)):
            return
        if self._also is not None and caller.may_any(self._also):
            return
        if self._seen_by is not None and not caller.may(_fill(self._seen_by, parameters)):
            raise NotFound(NOTHING_HERE)
        raise Forbidden(scope)


def _fill(scope: str, parameters: Mapping[str, Any]) -> str:
    """The scope of one instance; what cannot be a name of one is left to those who may do it to all."""
    plain, brace, parameter = scope.partition(":{")
    if not brace:
        return scope
    instance = parameters[parameter.removesuffix("}")]
    return f"{plain}:{instance}" if _KNOWN_INSTANCE.fullmatch(instance) else plain


def requires(scope: str, *, seen_by: str | None = None, of_any: bool = False, also: str | None = None) -> Any:
    """A dependency that asks for one scope: `caller: Caller = requires("pipelines:read")`, or in `dependencies=`.

    An instance may come from the path: `requires("entities:read:{entity}")`. Whoever lacks the scope `seen_by` too is
    told that nothing is there, as where there is no such instance. `of_any` lets in who may do it to one instance,
    `also` who holds this other scope, of one instance at least.
    """
    if not all(_ASKED.fullmatch(one) for one in (scope, seen_by or scope, also or scope)):
        raise ValueError(f"a scope reads noun:verb or noun:verb:instance, not {scope!r}")
    return Security(Guard(scope, seen_by=seen_by, of_any=of_any, also=also), scopes=[scope])


async def identify(request: Request) -> Caller:
    """Who calls, whatever the scopes; raises Unauthenticated or TokenRefused."""
    given = None
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            if given is not None:
                raise TokenRefused("Send exactly one Authorization header, with the scheme Bearer.")
            given = value
    if given is None:
        raise Unauthenticated("This needs a token.")
    verifier: Identifier = request.app.verifier
    return verifier.recall(given) or await verifier.identify(given)


def is_grant(scope: str) -> bool:
    """Whether a token may hold this: `noun:verb`, `noun:verb:instance`, `noun:*` or `*`."""
    return _GRANT.fullmatch(scope) is not None
