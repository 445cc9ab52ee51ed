"""Endpoints of every scheme, and a provider that signs most of the requests which schemathesis makes up."""

import gzip
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from copy import deepcopy
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase
from schemathesis.engine.recorder import Interaction

from nms.inbox.identity import IDS
from tests.unit.webhooks import PROVIDERS, PUBLIC, SECRET, WHSEC, Call

VARIABLES = {"HOOK": SECRET, "HOOK_KEY": WHSEC, "HOOK_PUBLIC": PUBLIC, "HOOK_TOKEN": "a-token-of-its-own"}
REFERENCES = {value: f"env://{name}" for name, value in VARIABLES.items()}
HOST = "https://hooks.example.com"
SIGNED = "X-Signed-By-The-Test"
LOGIN = {"type": "bearer", "secrets": ["env://HOOK"]}
SHORT = {"/in/{endpoint}": ("post",)}
LONG = {
    "/in/{endpoint}": ("post", "get", "head", "options"),
    "/in/{endpoint}/{secret}": ("post", "get"),
    "/webhook": ("post",),
    "/webhook/{secret}": ("post",),
}
HANDSHAKES: Mapping[str, list[Any]] = {
    "slack": ["slack"],
    "meta": [{"type": "meta", "token": "env://HOOK_TOKEN"}],
    "x": ["x"],
    "zoom": ["zoom"],
    "mandrill": ["mandrill"],
}
NARROW: tuple[dict[str, Any], ...] = (
    {"name": "basic", "scheme": {"type": "basic", "user": "crm", "secrets": ["env://HOOK"]}, "handshakes": ["graph"]},
    {"name": "bearer", "scheme": LOGIN, "handshakes": ["cloudevents"], "rate": {"limit": 5, "per": "1s"}},
    {"name": "path", "scheme": {"type": "path", "secrets": ["env://HOOK"]}, "handshakes": ["mailchimp"]},
    {"name": "cloud", "scheme": LOGIN, "format": "cloudevents"},
    {"name": "list", "scheme": LOGIN, "items": "@", "id": {"path": "id"}, "event": {"path": "type"}},
    {"name": "narrow", "scheme": LOGIN, "largest": 100, "depth": 2, "content_types": ["application/json"]},
    {"name": "webhook", "scheme": LOGIN, "id": {"path": "id"}},
)


def endpoints() -> list[dict[str, Any]]:
    """The documents: one of every scheme, and some that are hard to please."""
    found = [
        {
            "name": name,
            "scheme": {**provider.scheme, "secrets": [REFERENCES[provider.call.secret]]},
            "url": f"{HOST}/in/{name}",
            "handshakes": HANDSHAKES.get(name, []),
        }
        for name, provider in PROVIDERS.items()
    ]
    return [{"kind": "endpoint", **one} for one in (*found, *NARROW)]


def narrowed(document: Mapping[str, Any], *, short: bool) -> dict[str, Any]:
    """The OpenAPI document of the receiver alone, with the names of endpoints and the secrets of paths that there are.

    The short form has one operation and none of its headers: making up thirty texts takes longer than asking.
    """
    wanted = SHORT if short else LONG
    paths = {path: {method: document["paths"][path][method] for method in methods} for path, methods in wanted.items()}
    made = deepcopy({**document, "paths": paths})
    for path, operations in made["paths"].items():
        names = ["path"] if "{secret}" in path else [one["name"] for one in endpoints()]
        known = {"endpoint": [*names, "nowhere"], "secret": [SECRET, "other"]}
        for operation in operations.values():
            kept = [one for one in operation["parameters"] if not short or one["in"] == "path"]
            operation["parameters"] = [
                {**one, "schema": {"enum": known[one["name"]]}} if one["name"] in known else one for one in kept
            ]
    return dict(made)


def is_front(path: str) -> bool:
    """Whether the receiver answers a path."""
    return path.startswith(("/in/", "/webhook"))


class Provider(AuthBase):
    """Signs three of four requests as the provider of their endpoint; the fourth goes out as it was made up."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the headers that belong to it."""
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        assert isinstance(body, bytes)
        address = urlsplit(str(request.url))
        number = zlib.crc32(body + address.path.encode() + address.query.encode())
        if number % 4 == 0:
            return request
        name = endpoint_of(address.path)
        if request.method == "POST":
            body = shaped(request, name, body, number)
        query = urlsplit(str(request.url)).query
        url = f"{HOST}/in/{name}?{query}" if query else f"{HOST}/in/{name}"
        for header, value in proofs(name, str(request.method), url, body):
            request.headers[header] = value
        request.headers[SIGNED] = name
        pack(request, body)
        return request


def shaped(request: requests.PreparedRequest, name: str, body: bytes, number: int) -> bytes:
    """The body in a form that the endpoint can read, where chance would never find it; ids come again now and then."""
    if name in ("github", "shopify"):
        request.headers.setdefault(IDS[name][0], str(number % 50))
    if name == "mandrill":
        request.headers["Content-Type"] = "application/x-www-form-urlencoded"
        return b"mandrill_events=" + quote(body).encode()
    if name.startswith("twilio"):
        request.url = f"{str(request.url).partition('?')[0]}?bodySHA256={sha256(body).hexdigest()}"
    if name == "list" and number % 2:
        return b'[{"id": %d}, {"id": %d, "size": %d}]' % (number % 50, number, len(body))
    return body


def proofs(name: str, method: str, url: str, body: bytes) -> Iterator[tuple[str, str]]:
    """What proves that a request is genuine."""
    provider = PROVIDERS.get(name)
    if provider is not None:
        yield from provider.sign(Call(provider.call.secret, method, url, body, int(time.time())))
    elif name == "basic":
        yield "Authorization", f"Basic {b64encode(f'crm:{SECRET}'.encode()).decode()}"
    elif name != "path":
        yield "Authorization", f"Bearer {SECRET}"


def pack(request: requests.PreparedRequest, body: bytes) -> None:
    """Pack the body as its headers say: what is signed is the content."""
    coding = request.headers.get("content-encoding")
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body) if coding == "deflate" else body
    request.body = packed
    request.headers["Content-Length"] = str(len(packed))


def endpoint_of(path: str) -> str:
    """The endpoint that a path of the receiver names."""
    parts = path.split("/")
    return parts[2] if parts[1] == "in" else "webhook"


def judge(interaction: Interaction) -> Iterator[str]:
    """What is believed without a proof."""
    request, response = interaction.request, interaction.response
    path = urlsplit(request.uri).path
    is_signed = SIGNED.lower() in {name.lower() for name in request.headers}
    if response is None or request.method != "POST" or is_signed or SECRET in path:
        return
    stored = response.headers.get("content-type") == ["application/json"] and b'"id' in (response.content or b"")
    if stored:
        yield f"an event of {path} was believed without a proof"
