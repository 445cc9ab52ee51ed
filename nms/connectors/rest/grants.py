"""Asking an OAuth2 token endpoint for an access token (RFC 6749)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import orjson

from nms.common import clock
from nms.common.document.rest import ClientLogin, RefreshLogin, RestSystem
from nms.common.egress.exchange import Answer, Caps, Request
from nms.common.egress.problems import EgressRefused, RemoteProblem
from nms.common.egress.shared import get_egress
from nms.common.rate_advice import read_wait
from nms.common.secret import resolve
from nms.connectors.rest.ask import origin_of
from nms.connectors.rest.headers import basic
from nms.connectors.rest.problems import RemoteLoginAway, RemoteLoginRefused

CAPS: Final = Caps(queue=30.0, answer=30.0, idle=15.0, whole=30.0, body=256 * 1024)
_ERROR: Final = re.compile(r"[a-z_]{1,60}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
LONGEST_LIFE: Final = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Granted:
    """An access token, until when (seconds since 1970) it is used, None for as long as it is let in, and what came."""

    access: str
    until: float | None = None
    refresh: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is not to be used any more."""
        return self.until is not None and clock.now().timestamp() >= self.until

    def __repr__(self) -> str:
        return f"Granted(until={self.until})"


async def ask_token(system: RestSystem, login: ClientLogin | RefreshLogin, form: Mapping[str, str]) -> Granted:
    """Send a grant; raises RemoteLoginRefused (with `error`) and RemoteLoginAway (`used`: it may be used up).

    The lifetime is shortened by a tenth, at most a minute, so that a token is not over on its way.
    """
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    fields = dict(form) | ({} if login.scope is None else {"scope": login.scope})
    secret = None if login.client_secret is None else resolve(login.client_secret, *system.origins).get_secret_value()
    if login.send == "basic" and secret is not None:
        # RFC 6749 section 2.3.1: both are form-encoded first.
        headers["authorization"] = basic(quote_plus(login.client_id), quote_plus(secret))
    else:
        fields |= {"client_id": login.client_id} | ({} if secret is None else {"client_secret": secret})
    request = Request("POST", login.token_url, headers, urlencode(fields).encode(), CAPS)
    origin = origin_of(login.token_url)
    try:
        answer = await get_egress().send(request)
    except EgressRefused as problem:
        raise RemoteLoginRefused(f"The token endpoint is not asked: {problem.detail}", origin=origin) from None
    except RemoteProblem as problem:
        raise _away(origin, problem.facts["reason"], used=problem.facts["sent"]) from problem
    return _read(answer, origin)


def _read(answer: Answer, origin: str) -> Granted:
    try:
        told = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        told = None
    told = told if isinstance(told, dict) else {}
    if answer.status in (429, 503) or answer.status in (408, 425):
        wait = read_wait(answer.headers, clock.now(), 3_600.0)
        raise _away(origin, str(answer.status), used=False, wait=None if wait is None else wait.seconds)
    if answer.status >= 500:
        raise _away(origin, str(answer.status), used=True)
    if answer.status != 200:
        raise _refused(answer, origin, told.get("error"))
    access, kind = told.get("access_token"), told.get("token_type", "bearer")
    if not isinstance(access, str) or not _TOKEN.fullmatch(access):
        # It may have rotated and its answer got lost on the way, in a proxy for instance.
        raise _away(origin, "no access token in its answer", used=True)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise RemoteLoginRefused(f"{origin}: its tokens are of a type that is not spoken.", origin=origin)
    refresh = told.get("refresh_token")
    usable = isinstance(refresh, str) and _TOKEN.fullmatch(refresh)
    return Granted(access, _until(told.get("expires_in")), refresh if usable else None)


def _refused(answer: Answer, origin: str, error: Any) -> RemoteLoginRefused:
    word = error if isinstance(error, str) and _ERROR.fullmatch(error) else "no reason"
    return RemoteLoginRefused(
        f"{origin}: the token endpoint answers {answer.status} ({word}).", origin=origin, error=word
    )


def _away(origin: str, reason: str, *, used: bool, wait: float | None = None) -> RemoteLoginAway:
    facts: dict[str, Any] = {} if wait is None else {"wait": wait}
    return RemoteLoginAway(
        f"{origin}: the token endpoint gives no token ({reason}).", origin=origin, reason=reason, used=used, **facts
    )


def _until(told: Any) -> float | None:
    try:
        seconds = float(told)
    except (TypeError, ValueError):
        return None
    if not 0 < seconds <= LONGEST_LIFE:
        return None
    return clock.now().timestamp() + seconds - min(60.0, seconds / 10)
