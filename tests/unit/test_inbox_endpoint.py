"""What tells an event of an endpoint apart."""

from typing import Any

import pytest

from nms.common.document import EndpointDocument
from nms.inbox.check import Request
from nms.inbox.endpoint import Endpoint
from nms.inbox.login import OpenVerifier


def key_of(scheme: dict[str, Any], headers: dict[str, str], body: bytes) -> bytes:
    document = EndpointDocument.model_validate({"kind": "endpoint", "name": "a", "scheme": scheme})
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    arrivals, _ = Endpoint(document, OpenVerifier()).read(Request("POST", "http://a/in/a", raw, 0.0), body)
    return arrivals[0].key


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        ({"type": "standard"}, "webhook-id"),
        ({"type": "standard", "headers": "svix"}, "svix-id"),
        ({"type": "github"}, "x-github-delivery"),
        ({"type": "shopify"}, "x-shopify-event-id"),
    ],
)
def test_an_event_is_known_by_the_id_of_its_provider(scheme: dict[str, Any], header: str) -> None:
    signed = {**scheme, "secrets": ["env://HOOK"]}
    one = key_of(signed, {header: "1"}, b"{}")
    assert key_of(signed, {header: "1"}, b"[]") == one
    assert key_of(signed, {header: "2"}, b"{}") != one


def test_an_event_without_an_id_is_known_by_its_body() -> None:
    signed = {"type": "stripe", "secrets": ["env://HOOK"]}
    assert key_of(signed, {}, b"{}") == key_of(signed, {"webhook-id": "1"}, b"{}") != key_of(signed, {}, b"[]")
