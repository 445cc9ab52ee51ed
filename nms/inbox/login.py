"""Schemes that show the secret itself: basic, bearer, the end of the path; and none."""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from nms.inbox.check import Check, Refusal, Request, read_headers
from nms.inbox.key import plain_secrets
from nms.inbox.problems import SecretUnfit
from nms.inbox.scheme import Login
from nms.inbox.signature import is_same

_AUTHORIZATION: Final = b"authorization"
_UNRESERVED: Final = re.compile(rb"[A-Za-z0-9._~-]+")


class LoginVerifier:
    """A scheme that shows a secret, with its secrets; raises SecretUnfit."""

    def __init__(self, rule: Login, secrets: Sequence[str]) -> None:
        self.rule = rule
        given = plain_secrets(secrets)
        if rule.kind == "basic":
            given = [b64encode(rule.user.encode() + b":" + secret) for secret in given]
        elif not all(secret.isascii() for secret in given):
            raise SecretUnfit("A secret that is sent as it is has ASCII characters only.")
        if rule.kind == "path" and not all(map(_UNRESERVED.fullmatch, given)):
            raise SecretUnfit("A secret in a path is made of letters, digits, `-`, `.`, `_` and `~`.")
        self.shown = given
        self.hidden: Sequence[bytes] = sorted({*given, *plain_secrets(secrets)}, key=len, reverse=True)

    def check(self, request: Request) -> Check:
        """The check of one request."""
        return LoginCheck(self, request)


class LoginCheck(Check):
    """One request that should show a secret: judged before its body comes."""

    def __init__(self, verifier: LoginVerifier, request: Request) -> None:
        super().__init__()
        self._settle(self._compare, verifier, request)

    def _compare(self, verifier: LoginVerifier, request: Request) -> None:
        kind = verifier.rule.kind
        given = request.tail if kind == "path" else _read_authorization(request, kind)
        fits = False
        for shown in verifier.shown:
            fits |= is_same(shown, given)
        if not fits:
            where = "The end of the path" if kind == "path" else "What the header `authorization` shows"
            raise Refusal("login-mismatch", f"{where} is not the secret of this endpoint.", secrets=len(verifier.shown))

    def _judge(self, body: bytes) -> None:
        """Nothing of the body is verified."""


class OpenVerifier:
    """No scheme: every request is believed."""

    hidden: Sequence[bytes] = ()

    def check(self, request: Request) -> Check:
        """The check of one request, which nothing can fail."""
        del request
        return OpenCheck()


class OpenCheck(Check):
    """One request of anybody."""

    def _judge(self, body: bytes) -> None:
        """Whoever sends is believed."""


def _read_authorization(request: Request, kind: str) -> bytes:
    value = read_headers(request, {_AUTHORIZATION})[_AUTHORIZATION]
    scheme, _, shown = value.partition(b" ")
    if scheme.lower() != kind.encode() or not shown:
        raise Refusal(
            "login-malformed", f"The header `authorization` is not `{kind.capitalize()}`, a blank and the login."
        )
    return shown
