"""Tokens minted here with JWT_SECRET_KEY, in the form that the guard accepts."""

import time
from collections.abc import Iterable
from secrets import token_urlsafe

import jwt

from nms.common.guard import is_grant
from nms.common.problem import Malformed, Problem
from nms.common.settings import Settings

LONGEST_SECONDS = 24 * 3600
"""Few things can take such a token back before it expires, so it does not live long."""


class OperatorTokensOff(Problem):
    """Tokens of `nms token` are switched off here, so none is minted."""

    status, code, title = 409, "operator-tokens-off", "Operator tokens are switched off"
    remedy = "Log in at the role auth, or set OPERATOR_TOKENS=true where the roles run and here."


def mint_token(
    settings: Settings, scopes: Iterable[str], *, subject: str, seconds: int = 600, now: float | None = None
) -> str:
    """A signed access token (RFC 9068) for these scopes; raises OperatorTokensOff, and Malformed for a bad scope."""
    if not settings.operator_tokens:
        raise OperatorTokensOff("OPERATOR_TOKENS is false: no role would accept this token.")
    granted = sorted(set(scopes))
    wrong = [scope for scope in granted if not is_grant(scope)]
    if wrong or not granted:
        raise Malformed(
            f"{wrong[0]!r} is not a scope." if wrong else "Name at least one scope.",
            remedy="A scope reads noun:verb, such as pipelines:read, or noun:verb:name; wildcards: `pipelines:*`, `*`.",
        )
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise Malformed(
            f"A token lives between 1 second and {LONGEST_SECONDS // 3600} hours.",
            remedy="Choose a shorter life, and mint a new token when it ends.",
        )
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": subject,
        "client_id": "nms",
        "scope": " ".join(granted),
        "iat": issued,
        "nbf": issued,
        "exp": issued + seconds,
        "jti": token_urlsafe(12),
    }
    return jwt.encode(claims, settings.signing_key(), algorithm="HS256", headers={"typ": "at+jwt"})
