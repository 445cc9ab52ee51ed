"""What auth refuses."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nms.common.problem import Malformed, Problem, Retry

NO_STORE: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store", "Pragma": "no-cache"})
"""RFC 6749 section 5.1: nothing on the way keeps an answer that carries a token."""


class GrantProblem(Problem):
    """An OAuth error: `error` is the code of RFC 6749 section 5.2."""

    status, code, title, error = 400, "grant-malformed", "The request for a token is refused", "invalid_request"
    remedy = "Correct the form and send it again."
    headers = NO_STORE

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail, error=self.error, error_description=detail, **facts)


class LoginRefused(GrantProblem):
    """The e-mail or the password is wrong, or the account is closed or held for a moment; nobody is told which."""

    code, title, error = "login-refused", "The login is refused", "invalid_grant"
    remedy = "Check e-mail and password; after several tries wait a minute. An administrator can set a new password."

    def __init__(self, reason: str, account: str = "") -> None:
        """`reason` and `account` are for the audit, and stay out of the answer."""
        super().__init__("E-mail or password are wrong, or there were too many tries.")
        self.reason, self.account = reason, account


class RefreshRefused(GrantProblem):
    """The refresh token is malformed, expired, used or its session has ended."""

    code, title, error = "refresh-refused", "The refresh token is refused", "invalid_grant"
    remedy = "Log in again."

    def __init__(self) -> None:
        super().__init__("This refresh token is not good, or no longer.")


class ScopeRefused(GrantProblem):
    """A login asked for a scope that its account does not have."""

    code, title, error = "scope-refused", "The scope is refused", "invalid_scope"
    remedy = "Leave `scope` out to get all that the account may do, or ask for less."

    def __init__(self, detail: str, account: str = "") -> None:
        super().__init__(detail)
        self.reason, self.account = "scope", account


class GrantRefused(GrantProblem):
    """This grant type is not one of ours."""

    code, title, error = "grant-refused", "The grant type is refused", "unsupported_grant_type"
    remedy = "Send `grant_type=password` to /token and `grant_type=refresh_token` to /token/refresh."


class TokenTypeRefused(GrantProblem):
    """This kind of token cannot be revoked here."""

    code, title, error = "token-type-refused", "This kind of token is not revoked here", "unsupported_token_type"
    remedy = "Revoke a service token by `DELETE /service-tokens/{id}`."


class KeySealed(Problem):
    """The signing key in the database was sealed with another SECRETS_KEY."""

    status, code, retry, title = 503, "key-sealed", Retry.LATER, "The signing key cannot be opened"
    remedy = "Start with the SECRETS_KEY that it was sealed with, or make a new key with `nms keys rotate`."


class AuthBusy(Problem):
    """As many passwords wait to be hashed as may wait."""

    status, code, retry, title = 503, "auth-busy", Retry.LATER, "Too many logins at once"
    remedy = "Try again after the seconds that `retry_after` names; AUTH_HASHES and AUTH_HASH_QUEUE set how many wait."

    def __init__(self) -> None:
        super().__init__("Too many passwords are being checked at this moment.", retry_after=1)


class PasswordRefused(Malformed):
    """The new password is too short, too long, common or the e-mail address."""

    code, title = "password-refused", "The new password is refused"
    remedy = "Choose a password of 12 to 128 characters that no list has, such as four or five words by chance."


class TooManyAttempts(Problem):
    """The network that asks has failed too often lately; it is told, since it knows that itself."""

    status, code, retry, title = 429, "too-many-attempts", Retry.LATER, "Too many attempts"
    remedy = "Wait for the seconds that Retry-After names; attempts until then are let through by lot and prolong it."

    def __init__(self, seconds: int, refused: int = 1) -> None:
        super().__init__(f"Attempts from this network are held for {seconds} s.", retry_after=seconds)
        self.refused = refused


class GrantExceeded(Problem):
    """Somebody would give or take scopes that he does not hold himself."""

    status, code, title = 403, "grant-exceeded", "Nobody gives or takes more than he holds"
    remedy = "Ask somebody who holds the scopes that `scopes` names, such as an administrator."

    def __init__(self, scopes: list[str]) -> None:
        super().__init__("This is about scopes that the caller does not hold.", scopes=scopes)


class UserMoved(Problem):
    """Someone changed the user since it was read."""

    status, code, title = 409, "user-moved", "The user has changed meanwhile"
    remedy = "Read the user again and repeat the change on its newest revision."


class LastAdmin(Problem):
    """Nobody could administer the house any more."""

    status, code, title = 409, "last-admin", "This is the last administrator"
    remedy = "Give the role admin to another user who can log in, then repeat it."

    def __init__(self) -> None:
        super().__init__("This is the only user who holds the role admin and can log in.")


class PasswordWrong(Problem):
    """The current password is not the right one, or there were too many tries."""

    status, code, title = 403, "password-wrong", "The current password is wrong"
    remedy = "Try again, after several tries in a minute; an administrator can set a new password."

    def __init__(self) -> None:
        super().__init__("The current password is not right, or there were too many tries.")


class RoleBuiltIn(Problem):
    """The roles admin, operator and viewer stay as they are."""

    status, code, title = 409, "role-built-in", "A built-in role stays as it is"
    remedy = "Create a role of your own with the scopes that you want."


class RoleHeld(Problem):
    """A role that users hold cannot go."""

    status, code, title = 409, "role-held", "Users hold this role"
    remedy = "Take the role from its users first; `GET /users?role=` lists them."


class ServiceTokenOver(Problem):
    """The service token is revoked or expired, and gets no secret any more."""

    status, code, title = 409, "service-token-over", "The service token is over"
    remedy = "Create another one; the name of a revoked one is free."


class ClaimClosed(Problem):
    """The link of the first start is not good: used, expired, another one, or somebody administers already."""

    status, code, title = 410, "claim-closed", "This link is closed"
    remedy = (
        "Ask an administrator for an account. Where there is none yet, start the role auth again for a new link, "
        "or run `nms user create-admin`."
    )
    headers = NO_STORE

    def __init__(self) -> None:
        super().__init__("This link does not make an administrator, or no longer.")
