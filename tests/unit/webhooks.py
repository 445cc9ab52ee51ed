"""Webhooks as providers send them, signed by an implementation that shares nothing with ours (RFC 2104 by hand)."""

import hashlib
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter

from nms.common.document.scheme import Scheme
from nms.inbox.check import Refusal, Request
from nms.inbox.verifier import make_verifier

NOW = 1_700_000_000
URL = "https://hooks.example.com/in/crm?source=eu&next=%2Fa"
BODY = b'{"type": "customer.created", "data": {"id": 1, "name": "M\xc3\xbcller"}}'
SECRET, OTHER = "4f1e-shared-secret", "c3b2-another-secret"
SCHEMES: TypeAdapter[Scheme] = TypeAdapter(Scheme)
Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Call:
    """What a provider signs."""

    secret: str = SECRET
    method: str = "POST"
    url: str = URL
    body: bytes = BODY
    time: int | str = NOW


@dataclass(frozen=True)
class Provider:
    """A provider: the scheme of the endpoint, how it signs, where signature and time stand."""

    scheme: Mapping[str, Any]
    sign: Callable[[Call], Headers]
    header: str
    time_header: str = ""
    call: Call = field(default_factory=Call)
    other: str = OTHER
    covers: frozenset[str] = frozenset({"body"})


@dataclass(frozen=True)
class Case:
    """One request at one endpoint."""

    name: str
    scheme: Mapping[str, Any]
    secrets: Sequence[str]
    request: Request
    body: bytes


def judge(case: Case, chunk: int = 7) -> Refusal | None:
    """What our engine says of a request whose body comes in chunks."""
    verifier = make_verifier(SCHEMES.validate_python(case.scheme), case.secrets, dev=True)
    check = verifier.check(case.request)
    for at in range(0, len(case.body), chunk):
        check.update(case.body[at : at + chunk])
    return check.finish(case.body)


def case_of(name: str, provider: Provider, call: Call, headers: Headers | None = None) -> Case:
    """A request as a provider sends it, or with other headers than those that belong to it."""
    given = provider.sign(call) if headers is None else headers
    raw = [(b"content-type", b"application/json"), *((n.lower().encode(), v.encode("latin-1")) for n, v in given)]
    request = Request(call.method, call.url, raw, float(NOW))
    return Case(name, provider.scheme, (provider.call.secret,), request, call.body)


def mac(secret: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    """HMAC by the book."""
    size = hashlib.new(algorithm).block_size
    key = (hashlib.new(algorithm, secret).digest() if len(secret) > size else secret).ljust(size, b"\0")
    inner = hashlib.new(algorithm, bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.new(algorithm, bytes(byte ^ 0x5C for byte in key) + inner).digest()


def b64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()


def _seed(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


PRIVATE = {"whpk_" + b64(key.public_key().public_bytes_raw()): key for key in map(_seed, (1, 2))}
PUBLIC, OTHER_PUBLIC = PRIVATE
WHSEC, OTHER_WHSEC = "whsec_" + b64(bytes(range(24))), "whsec_" + b64(bytes(range(32)))


def _standard(call: Call) -> Headers:
    message = f"msg_1.{call.time}.".encode() + call.body
    if call.secret in PRIVATE:
        signature = "v1a," + b64(PRIVATE[call.secret].sign(message))
    else:
        key = bytes(range(32 if call.secret == OTHER_WHSEC else 24)) if call.secret else b""
        signature = "v1," + b64(mac(key, message))
    return [("webhook-id", "msg_1"), ("webhook-timestamp", str(call.time)), ("webhook-signature", signature)]


def _stripe(call: Call) -> Headers:
    signature = mac(call.secret.encode(), f"{call.time}.".encode() + call.body).hex()
    return [("Stripe-Signature", f"t={call.time},v0={'0' * 64},v1={signature}")]


def _hub(call: Call) -> Headers:
    return [("X-Hub-Signature-256", "sha256=" + mac(call.secret.encode(), call.body).hex())]


def _shopify(call: Call) -> Headers:
    return [("X-Shopify-Hmac-SHA256", b64(mac(call.secret.encode(), call.body)))]


def _x(call: Call) -> Headers:
    return [("x-twitter-webhooks-signature", "sha256=" + b64(mac(call.secret.encode(), call.body)))]


def _hubspot_1(call: Call) -> Headers:
    digest = hashlib.sha256(call.secret.encode() + call.body).hexdigest()
    return [("X-HubSpot-Signature-Version", "v1"), ("X-HubSpot-Signature", digest)]


def _hubspot_2(call: Call) -> Headers:
    digest = hashlib.sha256(f"{call.secret}{call.method}{call.url}".encode() + call.body).hexdigest()
    return [("X-HubSpot-Signature-Version", "v2"), ("X-HubSpot-Signature", digest)]


def _hubspot_3(call: Call) -> Headers:
    url, time = call.url.replace("%2F", "/"), str(call.time) if isinstance(call.time, str) else str(call.time * 1000)
    signature = b64(mac(call.secret.encode(), f"{call.method}{url}".encode() + call.body + time.encode()))
    return [("X-HubSpot-Request-Timestamp", time), ("X-HubSpot-Signature-v3", signature)]


def _v0(prefix: str) -> Callable[[Call], Headers]:
    def sign(call: Call) -> Headers:
        signature = mac(call.secret.encode(), f"v0:{call.time}:".encode() + call.body).hex()
        return [(f"{prefix}-request-timestamp", str(call.time)), (f"{prefix}-signature", f"v0={signature}")]

    return sign


def _form(header: str) -> Callable[[Call], Headers]:
    def sign(call: Call) -> Headers:
        form = {} if "bodySHA256" in call.url else dict(parse_qsl(call.body.decode("latin-1"), keep_blank_values=True))
        joined = call.url + "".join(name + form[name] for name in sorted(form))
        return [(header, b64(mac(call.secret.encode(), joined.encode(), "sha1")))]

    return sign


def _custom(call: Call) -> Headers:
    message = f"{call.time}|7|".encode() + call.body + call.method.encode()
    signature = b64(mac(call.secret.encode(), message, "sha512")).rstrip("=").replace("+", "-").replace("/", "_")
    return [("X-Time", str(call.time)), ("X-Event", "7"), ("X-Sign", "mac:" + signature)]


def _plain(call: Call) -> Headers:
    return [("X-Sign", mac(call.secret.encode(), call.body, "sha1").hex().upper())]


def _of(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "secrets": ["env://HOOK"], **more}


_ALL = frozenset({"body", "url", "method"})
_FORM = b"mandrill_events=%5B%7B%22event%22%3A%22send%22%7D%5D"
_HASHED = f"{URL}&bodySHA256={hashlib.sha256(BODY).hexdigest()}"
_CUSTOM = _of(
    "hmac", algorithm="sha512", encoding="base64url", header="X-Sign", prefix="mac:", timestamp="X-Time",
    signed="{timestamp}|{header:X-Event}|{body}{method}",
)  # fmt: skip
PROVIDERS: Mapping[str, Provider] = {
    "standard-v1": Provider(
        _of("standard"), _standard, "webhook-signature", "webhook-timestamp", Call(WHSEC), OTHER_WHSEC
    ),
    "standard-v1a": Provider(
        _of("standard"), _standard, "webhook-signature", "webhook-timestamp", Call(PUBLIC), OTHER_PUBLIC
    ),
    "stripe": Provider(_of("stripe"), _stripe, "Stripe-Signature", "Stripe-Signature"),
    "github": Provider(_of("github"), _hub, "X-Hub-Signature-256"),
    "meta": Provider(_of("meta"), _hub, "X-Hub-Signature-256"),
    "shopify": Provider(_of("shopify"), _shopify, "X-Shopify-Hmac-SHA256"),
    "hubspot-v1": Provider(_of("hubspot", version="v1"), _hubspot_1, "X-HubSpot-Signature"),
    "hubspot-v2": Provider(_of("hubspot", version="v2"), _hubspot_2, "X-HubSpot-Signature", covers=_ALL),
    "hubspot-v3": Provider(
        _of("hubspot"), _hubspot_3, "X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp", covers=_ALL
    ),
    "slack": Provider(_of("slack"), _v0("x-slack"), "x-slack-signature", "x-slack-request-timestamp"),
    "zoom": Provider(_of("zoom"), _v0("x-zm"), "x-zm-signature", "x-zm-request-timestamp"),
    "x": Provider(_of("x"), _x, "x-twitter-webhooks-signature"),
    "mandrill": Provider(
        _of("mandrill"), _form("X-Mandrill-Signature"), "X-Mandrill-Signature", call=Call(body=_FORM),
        covers=frozenset({"body", "url"}),
    ),
    "twilio": Provider(
        _of("twilio"), _form("X-Twilio-Signature"), "X-Twilio-Signature",
        call=Call(body=b"From=%2B14158675309&Body=hi+there&Empty="), covers=frozenset({"body", "url"}),
    ),
    "twilio-json": Provider(
        _of("twilio"), _form("X-Twilio-Signature"), "X-Twilio-Signature", call=Call(url=_HASHED),
        covers=frozenset({"body", "url"}),
    ),
    "hmac": Provider(_CUSTOM, _custom, "X-Sign", "X-Time", covers=frozenset({"body", "method"})),
    "hmac-plain": Provider(_of("hmac", algorithm="sha1", encoding="hex-upper", header="X-Sign"), _plain, "X-Sign"),
}  # fmt: skip


def genuine(name: str, **changed: Any) -> Case:
    """A request that a provider really sent."""
    provider = PROVIDERS[name]
    return case_of("genuine", provider, replace(provider.call, **changed))
