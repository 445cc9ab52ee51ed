"""Lists of events: one row for each, one answer, all or nothing; CloudEvents in their three modes."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from nms.common.settings import Settings
from tests.service.inbox import SECRET, declare, receiving, stored
from tests.service.web_client import problem_of

URL = "https://hooks.example.com/in/mandrill"
ENDPOINTS: tuple[Mapping[str, Any], ...] = (
    {"name": "hubspot", "scheme": {"type": "hubspot", "version": "v1", "secrets": ["env://SHOP_HOOK"]}},
    {"name": "mandrill", "url": URL, "scheme": {"type": "mandrill", "secrets": ["env://SHOP_HOOK"]}},
    {"name": "events", "format": "cloudevents", "scheme": {"type": "bearer", "secrets": ["env://SHOP_HOOK"]}},
    {
        "name": "list",
        "items": "data[?length(kind) > `0`]",
        "id": {"path": "id"},
        "event": {"path": "kind"},
        "scheme": {"type": "bearer", "secrets": ["env://SHOP_HOOK"]},
    },
)
BEARER = {"Authorization": f"Bearer {SECRET}"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "data": {"total": 1.50}}


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(*({"kind": "endpoint", **one} for one in ENDPOINTS))
    async with receiving(settings) as client:
        yield client


async def send_list(client: httpx2.AsyncClient, *items: Any) -> httpx2.Response:
    return await client.post("/in/list", json={"data": items}, headers=BEARER)


async def test_hubspots_list_is_an_event_each_and_a_second_attempt_is_known(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    async def attempt(number: int) -> httpx2.Response:
        items = [{"subscriptionType": "contact.creation", "objectId": n, "attemptNumber": number} for n in range(3)]
        body = json.dumps(items).encode()
        signature = hashlib.sha256(SECRET.encode() + body).hexdigest()
        headers = {"X-HubSpot-Signature": signature, "X-HubSpot-Signature-Version": "v1"}
        return await inbox.post("/in/hubspot", content=body, headers=headers)

    first, second = await attempt(0), await attempt(1)
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json() == second.json()
    rows = await stored(settings)
    assert [str(row["id"]) for row in rows] == first.json()["ids"]
    assert {row["type"] for row in rows} == {"contact.creation"}
    assert [json.loads(row["body"])["objectId"] for row in rows] == [0, 1, 2]


async def test_mandrills_form_is_an_event_each(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    events = json.dumps([{"event": "open", "ts": 1.0}, {"event": "click", "ts": 2}])
    signature = hmac.digest(SECRET.encode(), f"{URL}mandrill_events{events}".encode(), "sha1")
    headers = {
        "X-Mandrill-Signature": base64.b64encode(signature).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = await inbox.post("/in/mandrill", content=f"mandrill_events={quote(events)}", headers=headers)
    assert answer.status_code == 202
    rows = await stored(settings)
    assert [(row["type"], row["body"]) for row in rows] == [
        ("open", b'{"event":"open","ts":1.0}'),
        ("click", b'{"event":"click","ts":2}'),
    ]


async def test_a_list_with_a_known_id_and_another_body_is_refused_as_a_whole(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    one, two = {"id": "a", "kind": "x"}, {"id": "b", "kind": "x"}
    first = await send_list(inbox, one)
    assert first.status_code == 202
    answer = await send_list(inbox, two, {**one, "more": True}, {"id": "c", "kind": "x"})
    problem = problem_of(answer, 409, "id-reused")
    assert (problem["item"], problem["event"]) == (1, first.json()["ids"][0])
    assert len(await stored(settings)) == 1
    assert (await send_list(inbox, one, two, two)).status_code == 202
    assert len(await stored(settings)) == 2
    assert (await send_list(inbox)).json() == {"ids": []}


async def test_a_list_that_cannot_be_read_is_refused_and_nothing_of_it_stored(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    problem_of(await send_list(inbox, {"id": "a", "kind": "x"}, {"kind": "x"}), 400, "id-missing")
    problem_of(await send_list(inbox, *({"id": str(n), "kind": "x"} for n in range(1001))), 413, "batch-too-large")
    # The expression meets what it cannot measure.
    problem_of(await send_list(inbox, {"id": "a"}), 400, "webhook-unreadable")
    for body in (b"", b"[]", b'{"data": 1}', b"[" * 5000, b'{"data": [{"id": "a", "kind": "\\ud800"}]}'):
        answer = await inbox.post("/in/list", content=body, headers=BEARER)
        problem_of(answer, 400, "webhook-unreadable")
    assert await stored(settings) == []


async def test_a_cloudevent_is_the_same_in_every_mode(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    async def post(content: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        return await inbox.post("/in/events", content=content, headers={**BEARER, **headers})

    whole = json.dumps(EVENT, separators=(",", ":")).encode()
    structured = await post(whole, {"Content-Type": "application/cloudevents+json; charset=utf-8"})
    assert structured.status_code == 202
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    second = json.dumps({**EVENT, "id": "2"}).encode()
    answer = await post(b"[" + whole + b"," + second + b"]", batch)
    assert answer.status_code == 202
    assert answer.json()["ids"][0] == structured.json()["id"]
    binary = {"ce-specversion": "1.0", "ce-id": "3", "ce-source": "/shop", "ce-type": "order.%70aid"}
    assert (await post(b"\x00 no JSON", binary)).status_code == 202
    assert [row["type"] for row in await stored(settings)] == ["order.paid"] * 3
    for headers in ({}, {**binary, "ce-specversion": "0.3"}, {**binary, "ce-id": ""}, {**batch}):
        problem_of(await post(b"{", headers), 400, "webhook-unreadable")
    problem_of(await post(b'[{"id": 1}]', batch), 400, "webhook-unreadable")


async def test_a_body_that_announces_more_than_any_endpoint_takes_is_refused(inbox: httpx2.AsyncClient) -> None:
    answer = await inbox.post("/in/list", content=b"x", headers={**BEARER, "Content-Length": str(1 << 40)})
    assert answer.status_code == 413
