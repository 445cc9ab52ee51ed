"""Requests that brought lists: kept once for all their events, shown as they were signed, verified again."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from nms.inbox.days import DayRepository
from nms.inbox.repository import InboxRepository
from tests.service.inbox import SECRET, declare, receiving
from tests.service.web_client import problem_of

HUBSPOT = {"type": "hubspot", "version": "v1", "secrets": ["env://SHOP_HOOK"]}
BEARER = {"type": "bearer", "secrets": ["env://SHOP_HOOK"]}
LIST = {"items": "@", "id": {"path": "id"}}
ALONE = {"kind": "endpoint", "name": "alone", "scheme": BEARER}
BODY = b'[ {"objectId": 1},\n  {"objectId": 2} ]'


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(
        {"kind": "endpoint", "name": "hubspot", "scheme": HUBSPOT},
        {"kind": "endpoint", "name": "list", "scheme": BEARER, **LIST},
        ALONE,
    )
    async with receiving(settings) as client:
        yield client


async def send(client: httpx2.AsyncClient, body: bytes = BODY, path: str = "/in/hubspot") -> list[str]:
    signature = hashlib.sha256(SECRET.encode() + body).hexdigest()
    headers = {"X-HubSpot-Signature": signature, "X-HubSpot-Signature-Version": "v1", "X-More": "x" * 3_000}
    answer = await client.post(path, content=body, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    ids: list[str] = answer.json()["ids"]
    return ids


async def ask(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    token = mint_token(get_settings(), ["events:read"], subject="ada")
    return await client.get(path, headers={"Authorization": f"Bearer {token}"})


async def read(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    answer = await ask(client, path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def count() -> int:
    return int(await (await InboxRepository.open()).connection.fetchval("select count(*) from inbox.request"))


async def test_a_list_is_kept_once_as_it_was_signed_and_its_events_show_its_headers(inbox: httpx2.AsyncClient) -> None:
    ids = await send(inbox, path="/in/hubspot?a=secret")
    events = [await read(inbox, f"/events/{one}") for one in ids]
    assert [event["body"] for event in events] == ['{"objectId":1}', '{"objectId":2}']
    assert all(["x-more", "x" * 3_000] in event["headers"] for event in events)
    (request,) = {event["request"] for event in events}
    kept = await read(inbox, f"/requests/{request}")
    assert (kept["body"], kept["headers"], kept["endpoint"]) == (BODY.decode(), events[0]["headers"], "hubspot")
    assert (kept["believed"], kept["reason"]) == (True, None)
    assert kept["url"].endswith("/in/hubspot?a=(hidden)")
    connection = (await InboxRepository.open()).connection
    assert await connection.fetchval("select max(octet_length(headers)) from inbox.event") == 17
    # What comes again, or in part, is kept no second time; a list of one is a list, too.
    assert await send(inbox) == ids
    assert await count() == 1
    await send(inbox, b'[{"objectId": 3}]')
    assert await count() == 2


async def test_a_list_is_verified_again_by_todays_secret(
    inbox: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, _) = await send(inbox)
    request = (await read(inbox, f"/events/{first}"))["request"]
    monkeypatch.setenv("SHOP_HOOK", "another-secret-of-a-hook")
    kept = await read(inbox, f"/requests/{request}")
    assert (kept["believed"], kept["reason"]) == (False, "signature-mismatch")


async def test_what_proved_a_list_by_a_login_is_hidden_and_said_to_be(inbox: httpx2.AsyncClient) -> None:
    login = {"Authorization": f"Bearer {SECRET}"}
    (one,) = (await inbox.post("/in/list", content=b'[{"id": "1"}]', headers=login)).json()["ids"]
    kept = await read(inbox, f"/requests/{(await read(inbox, f'/events/{one}'))['request']}")
    assert (kept["believed"], kept["reason"]) == (False, "credentials-away")
    assert SECRET not in json.dumps(kept)
    alone = (await inbox.post("/in/alone", content=b"{}", headers=login)).json()["id"]
    assert (await read(inbox, f"/events/{alone}"))["request"] is None
    problem_of(await ask(inbox, f"/requests/{alone}"), 404, "not-found")


async def test_readers_of_the_feed_are_given_the_headers_of_the_request(inbox: httpx2.AsyncClient) -> None:
    await send(inbox)
    connection = (await InboxRepository.open()).connection
    rows = await connection.fetch("select headers from inbox.read_events('{hubspot}', 0, 10, 10)")
    assert len(rows) == 2
    assert all(b"x-hubspot-signature-version: v1" in row["headers"] for row in rows)


async def test_a_request_goes_with_the_day_of_its_events(inbox: httpx2.AsyncClient) -> None:
    await send(inbox)
    days = await DayRepository.open()
    assert await days.delete_old_requests(86_400, 10) == 0
    await days.connection.execute("update inbox.request set received_at = received_at - interval '3 days'")
    assert await days.delete_old_requests(86_400, 10) == 1
    assert await count() == 0
