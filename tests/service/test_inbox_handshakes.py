"""Providers that ask whether an endpoint is theirs, over HTTP: each by the secret that is meant for it."""

import base64
import hmac
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from tests.service.inbox import SECRET, SHOP, declare, receiving, stored
from tests.service.web_client import problem_of

OWN = {"VERIFY_TOKEN": "a-token-that-was-entered", "CONSUMER_SECRET": "a-secret-of-an-app", "SHOP_HOOK": SECRET}
SECRETS = ["env://SHOP_HOOK"]
ENDPOINTS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "meta",
        "scheme": {"type": "meta", "secrets": SECRETS},
        "handshakes": [{"type": "meta", "token": "env://VERIFY_TOKEN"}],
    },
    {"name": "short", "scheme": {"type": "meta", "secrets": SECRETS}, "handshakes": ["meta"]},
    {
        "name": "x",
        "scheme": {"type": "bearer", "secrets": SECRETS},
        "handshakes": [{"type": "x", "secret": "env://CONSUMER_SECRET"}, "graph", "mandrill"],
    },
    {
        "name": "zoom",
        "scheme": {"type": "basic", "user": "zoom", "secrets": SECRETS},
        "handshakes": [{"type": "zoom", "secret": "env://CONSUMER_SECRET"}],
    },
    {
        "name": "cloud",
        "scheme": {"type": "bearer", "secrets": SECRETS},
        "handshakes": ["cloudevents"],
        "rate": {"limit": 3, "per": "1s"},
    },
    # A name that stands at the beginning of `/in` too.
    {"name": "i", "scheme": {"type": "path", "secrets": SECRETS}, "handshakes": ["mailchimp"]},
)


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    await declare(*({"kind": "endpoint", **one} for one in ENDPOINTS))
    async with receiving(settings) as client:
        yield client


def signed(text: str) -> bytes:
    return hmac.digest(OWN["CONSUMER_SECRET"].encode(), text.encode(), "sha256")


async def test_meta_is_answered_by_its_verify_token_and_not_by_the_secret_of_events(inbox: httpx2.AsyncClient) -> None:
    async def ask(endpoint: str, token: str) -> httpx2.Response:
        asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
        return await inbox.get(f"/in/{endpoint}", params=asked)

    assert (await ask("meta", OWN["VERIFY_TOKEN"])).text == "1158201444"
    problem_of(await ask("meta", SECRET), 405, "method-not-allowed")
    assert (await ask("short", SECRET)).text == "1158201444"


async def test_x_and_zoom_get_what_their_own_secret_signs(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    answer = await inbox.get("/in/x", params={"crc_token": "abc"})
    assert answer.json() == {"response_token": f"sha256={base64.b64encode(signed('abc')).decode()}"}
    asked = {"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}}
    told = await inbox.post("/in/zoom", json=asked, auth=("zoom", SECRET))
    assert told.json() == {"plainToken": "abc", "encryptedToken": signed("abc").hex()}
    problem_of(await inbox.post("/in/zoom", json=asked), 401, "not-believed")
    assert await stored(settings) == []


async def test_graph_mandrill_mailchimp_and_cloudevents_are_answered(inbox: httpx2.AsyncClient) -> None:
    assert (await inbox.post("/in/x", params={"validationToken": "a b"})).text == "a b"
    assert (await inbox.head("/in/x")).status_code == 200
    assert (await inbox.get(f"/in/i/{SECRET}")).status_code == 200
    problem_of(await inbox.get("/in/i/other"), 405, "method-not-allowed")
    asked = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "1000"}
    granted = await inbox.options("/in/cloud", headers=asked)
    assert (granted.status_code, granted.headers["webhook-allowed-rate"]) == (200, "180")


async def test_a_name_that_the_path_begins_with_too_is_found_behind_it(inbox: httpx2.AsyncClient) -> None:
    assert (await inbox.post(f"/in/i/{SECRET}", content=b"{}")).status_code == 202


async def test_who_asks_gets_no_event_signed_though_another_name_leads_to_the_same_secret(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHOP_HOOK", "SAME_SECRET"):
        monkeypatch.setenv(name, SECRET)
    await declare({**SHOP, "handshakes": [{"type": "x", "secret": "env://SAME_SECRET"}]})
    async with receiving(settings) as client:
        problem_of(await client.post("/in/shop", content=b"{}"), 503, "endpoint-unready")
