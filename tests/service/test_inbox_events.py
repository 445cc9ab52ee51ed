"""What came, looked at: lists in pages, one event with its body, and no secret."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.inbox.repository import InboxRepository
from tests.service.inbox import SECRET, SHOP, declare, receiving, send, signed
from tests.service.web_client import problem_of


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP, {**SHOP, "name": "other"})
    async with receiving(settings) as client:
        yield client


async def read(client: httpx2.AsyncClient, settings: Settings, path: str) -> httpx2.Response:
    token = mint_token(settings, ["events:read"], subject="ada")
    return await client.get(path, headers={"Authorization": f"Bearer {token}"})


async def test_events_are_listed_in_pages_the_newest_first(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    sent = {(await send(inbox, b"{}", f"n{n}")).json()["id"] for n in range(5)}
    other = (await send(inbox, b"{}", "one", "/in/other")).json()["id"]
    shown: list[str] = []
    path = "/events?limit=2&endpoint=shop&type=push"
    cursor: str | None = ""
    while cursor is not None:
        page = (await read(inbox, settings, path + (f"&cursor={cursor}" if cursor else ""))).json()
        shown += [one["id"] for one in page["items"]]
        cursor = page["next"]
    assert (set(shown), shown) == (sent, sorted(sent, reverse=True))
    assert {one["id"] for one in (await read(inbox, settings, "/events")).json()["items"]} == sent | {other}
    assert (await read(inbox, settings, "/events?since=2999-01-01T00:00:00Z")).json()["items"] == []
    assert (await read(inbox, settings, "/events?endpoint=nowhere")).json()["items"] == []
    problem_of(await read(inbox, settings, "/events?since=yesterday"), 422, "malformed")


async def test_an_event_is_shown_with_its_body_and_without_secrets(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    for body, encoding, shown in ((b'{"a": 1.0}', "text", '{"a": 1.0}'), (b"\xff\x00", "base64", "/wA=")):
        headers = {**signed(body, encoding), "Authorization": "Basic c2VjcmV0"}
        made = (await inbox.post("/in/shop", content=body, headers=headers)).json()["id"]
        found = (await read(inbox, settings, f"/events/{made}")).json()
        assert (found["encoding"], found["body"], found["bytes"]) == (encoding, shown, len(body))
        told = dict(found["headers"])
        assert (told["x-github-event"], told["authorization"]) == ("push", "(hidden)")
    kept = await (await InboxRepository.open()).connection.fetch("select headers from inbox.event")
    assert len(kept) == 2
    assert not any(b"c2VjcmV0" in row["headers"] for row in kept), "a secret is stored"
    problem_of(await read(inbox, settings, f"/events/{uuid4()}"), 404, "not-found")
    problem_of(await inbox.get("/events"), 401, "unauthenticated")
