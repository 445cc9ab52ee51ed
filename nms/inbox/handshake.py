"""Handshakes: how providers ask whether an endpoint is theirs before they send events. Pure: request -> answer or None.

| name | asks | is answered with |
|---|---|---|
| `slack` | POST `{"type": "url_verification", "challenge": ...}` | the challenge |
| `meta` | GET `hub.mode=subscribe`, `hub.verify_token`, `hub.challenge` | the challenge, if the token is ours |
| `graph` | POST `?validationToken=...`, no body | the token as text/plain |
| `zoom` | POST `{"event": "endpoint.url_validation", "payload": {"plainToken": ...}}` | the token and its HMAC |
| `x` | GET `?crc_token=...` | the HMAC of the token |
| `mailchimp` | GET or HEAD (Marketing; the secret is in the path) | 200 |
| `mandrill` | HEAD (Transactional; not signed) | 200 |
| `cloudevents` | OPTIONS with WebHook-Request-Origin, WebHook-Request-Rate | WebHook-Allowed-Origin, -Rate |

Sources: docs.slack.dev/reference/events/url_verification, developers.facebook.com/docs/graph-api/webhooks,
learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks, developers.zoom.us/docs/api/webhooks,
docs.x.com/x-api/webhooks/quickstart, mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks,
mandrill.zendesk.com/hc/en-us/articles/360038740014,
github.com/cloudevents/spec (http-webhook 1.0.2, section 4).

Who asks `zoom` and `x` gets something signed with the secret of events. So only a token is signed, never what could
be the signed bytes of an event: those begin with `v0:` (Zoom) or `{` (X), and a token has neither `:` nor `{`.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from nms.common import strict_json
from nms.inbox.check import Refusal, Request, read_headers
from nms.inbox.form import read_form
from nms.inbox.signature import is_same

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,500}")
_TEXT: Final = re.compile(r"[\x20-\x7e]{1,2000}")
_ORIGIN: Final = re.compile(rb"[A-Za-z0-9]([A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?")
_RATE: Final = re.compile(rb"[1-9][0-9]{0,8}")
_ASKED_ORIGIN: Final = b"webhook-request-origin"
_ASKED_RATE: Final = b"webhook-request-rate"
_DEPTH: Final = 8
_LONGEST_BODY: Final = 8_192


@dataclass(frozen=True, slots=True)
class Terms:
    """What an endpoint has for handshakes: secrets, the newest first, and the requests a minute that it grants."""

    secrets: Sequence[str] = ()
    rate: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a handshake."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Ask = Callable[[Request, bytes, Terms], Answer | None]


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake: its methods, who answers, and whether its request must pass the scheme of the endpoint first."""

    methods: frozenset[str]
    ask: Ask
    verified: bool = False


def answer(name: str, request: Request, body: bytes, terms: Terms) -> Answer | None:
    """The answer to a handshake, or None: the request is none, or not a sound one, and is treated as any other."""
    handshake = HANDSHAKES[name]
    if request.method not in handshake.methods:
        return None
    with suppress(Refusal):
        return handshake.ask(request, body, terms)
    return None


def _slack(request: Request, body: bytes, terms: Terms) -> Answer | None:
    del request, terms
    asked = _read_object(body)
    if asked.get("type") != "url_verification":
        return None
    return _plain(_read_token(asked.get("challenge")))


def _meta(request: Request, body: bytes, terms: Terms) -> Answer | None:
    del body
    asked = _read_query(request)
    token = asked.get("hub.verify_token", "").encode()
    fits = False
    for secret in terms.secrets:
        fits |= is_same(secret.encode(), token)
    if not fits or not token or asked.get("hub.mode") != "subscribe":
        return None
    return _plain(_read_token(asked.get("hub.challenge")))


def _graph(request: Request, body: bytes, terms: Terms) -> Answer | None:
    del terms
    token = _read_query(request).get("validationToken", "")
    return _plain(token) if _TEXT.fullmatch(token) and not body else None


def _zoom(request: Request, body: bytes, terms: Terms) -> Answer | None:
    del request
    asked = _read_object(body)
    payload = asked.get("payload")
    if asked.get("event") != "endpoint.url_validation" or not isinstance(payload, dict) or not terms.secrets:
        return None
    token = _read_token(payload.get("plainToken"))
    if token is None:
        return None
    return _json({"plainToken": token, "encryptedToken": _sign(terms, token).hex()})


def _x(request: Request, body: bytes, terms: Terms) -> Answer | None:
    token = _read_token(_read_query(request).get("crc_token"))
    if token is None or body or not terms.secrets:
        return None
    return _json({"response_token": f"sha256={b64encode(_sign(terms, token)).decode()}"})


def _greet(request: Request, body: bytes, terms: Terms) -> Answer | None:
    del request, terms
    return None if body else _plain("")


def _cloudevents(request: Request, body: bytes, terms: Terms) -> Answer | None:
    del body
    origin = read_headers(request, {_ASKED_ORIGIN})[_ASKED_ORIGIN]
    rates = [value for name, value in request.headers if name.lower() == _ASKED_RATE]
    if not _ORIGIN.fullmatch(origin) or len(rates) > 1 or not all(map(_RATE.fullmatch, rates)):
        return None
    granted = [*map(int, rates), *([] if terms.rate is None else [terms.rate])]
    allowed = str(min(granted)) if terms.rate is not None else "*"
    return Answer(
        headers=(
            ("allow", "POST, OPTIONS"),
            ("webhook-allowed-origin", origin.decode()),
            ("webhook-allowed-rate", allowed),
        )
    )


def _read_object(body: bytes) -> Mapping[str, Any]:
    if len(body) > _LONGEST_BODY or not body.startswith(b"{"):
        return {}
    with suppress(ValueError):
        found = strict_json.parse(body, depth=_DEPTH)
        return found if isinstance(found, dict) else {}
    return {}


def _read_query(request: Request) -> Mapping[str, str]:
    """The parameters of the query that are ASCII; raises Refusal for a malformed query or a name that stands twice."""
    found: dict[str, str] = {}
    for name, value in read_form(request.query.encode("ascii", "replace")):
        with suppress(UnicodeDecodeError):
            key, text = name.decode("ascii"), value.decode("ascii")
            if key in found:
                raise Refusal("url-malformed", "A parameter stands in the URL twice.")
            found[key] = text
    return found


def _read_token(value: object) -> str | None:
    # strict_json tells numbers as texts of their own type.
    return str(value) if type(value) is str and _TOKEN.fullmatch(value) else None


def _sign(terms: Terms, token: str) -> bytes:
    return hmac.digest(terms.secrets[0].encode(), token.encode(), "sha256")


def _plain(text: str | None) -> Answer | None:
    return None if text is None else _answer("text/plain; charset=utf-8", text)


def _json(value: Mapping[str, str]) -> Answer:
    return _answer("application/json", strict_json.write(value))


def _answer(type_: str, text: str) -> Answer:
    # What a stranger sent goes back to him: no browser may take it for a page.
    return Answer(headers=(("content-type", type_), ("x-content-type-options", "nosniff")), body=text.encode())


_GET: Final = frozenset({"GET"})
_POST: Final = frozenset({"POST"})
HANDSHAKES: Final[Mapping[str, Handshake]] = {
    "slack": Handshake(_POST, _slack, verified=True),
    "meta": Handshake(_GET, _meta),
    "graph": Handshake(_POST, _graph),
    "zoom": Handshake(_POST, _zoom, verified=True),
    "x": Handshake(_GET, _x),
    "mailchimp": Handshake(frozenset({"GET", "HEAD"}), _greet, verified=True),
    "mandrill": Handshake(frozenset({"HEAD"}), _greet),
    "cloudevents": Handshake(frozenset({"OPTIONS"}), _cloudevents),
}
