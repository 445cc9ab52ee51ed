"""Logins of the hostile API: OAuth2 with client credentials and rotating refresh tokens, basic, a header."""

import base64
import time
from dataclasses import dataclass, field

from tests.services.hostile.wire import Answer, Request

CLIENT_ID, CLIENT_SECRET = "nms", "of-tests-alone"
API_KEY = "key-of-tests-alone"
BASIC = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
NO_STORE = {"Cache_Control": "no-store"}


@dataclass(slots=True)
class Logins:
    """The tokens given out; each refresh token is good once, and a used one ends all of its line.

    With `strict` off, the refresh token before the last one is good too, as some APIs have it for lost answers.
    """

    token_seconds: float = 3600
    strict: bool = True
    issued: int = 0
    reused: int = 0
    _access: dict[str, float] = field(default_factory=dict)
    _refresh: set[str] = field(default_factory=lambda: {"refresh-0"})
    _used: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """The answer of /oauth/token (RFC 6749 4.4, 5 and 6)."""
        form = request.form
        given = (form.get("client_id"), form.get("client_secret"))
        if request.header("authorization") != BASIC and given != (CLIENT_ID, CLIENT_SECRET):
            return Answer.of(401, {"error": "invalid_client"}, WWW_Authenticate="Basic", **NO_STORE)
        match form.get("grant_type"):
            case "client_credentials":
                return self._issue()
            case "refresh_token":
                return self._rotate(form.get("refresh_token", ""))
            case _:
                return Answer.of(400, {"error": "unsupported_grant_type"}, **NO_STORE)

    def refuses(self, request: Request, kind: str) -> Answer | None:
        """401 when a request has not the login that is asked for."""
        given = request.header("authorization")
        if kind == "none":
            return None
        if kind == "basic" and given == BASIC:
            return None
        if kind == "header" and request.header("x-api-key") == API_KEY:
            return None
        if kind == "bearer" and self._access.get(given.removeprefix("Bearer "), 0) > time.monotonic():
            return None
        named = "Basic" if kind == "basic" else 'Bearer error="invalid_token"'
        return Answer.of(401, {"error": "who are you?"}, WWW_Authenticate=named)

    def expire(self, token: str = "") -> None:
        """Make an access token worthless at once; all of them when none is named."""
        for one in [token] if token else list(self._access):
            self._access.pop(one, None)

    def _rotate(self, token: str) -> Answer:
        last = self._used[-1:]
        if token in self._refresh or (not self.strict and token in last):
            self._refresh.discard(token)
            self._used.append(token)
            following = f"refresh-{len(self._used)}"
            self._refresh.add(following)
            return self._issue(refresh_token=following)
        if token in self._used:
            self.reused += 1
            self._refresh.clear()
            self.expire()
        return Answer.of(400, {"error": "invalid_grant"}, **NO_STORE)

    def _issue(self, **more: str) -> Answer:
        self.issued += 1
        token = f"access-{self.issued}"
        self._access[token] = time.monotonic() + self.token_seconds
        told = {"access_token": token, "token_type": "Bearer", "expires_in": int(self.token_seconds), **more}
        return Answer.of(200, told, **NO_STORE)
