"""What OpenAPI says of the receiver is what the receiver answers: every code of it is provoked, and no other comes."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from nms.inbox import writer
from tests.service.inbox import SECRET, SHOP, declare, receiving, send

BEARER = {"Authorization": f"Bearer {SECRET}"}
LOGIN = {"type": "bearer", "secrets": ["env://SHOP_HOOK"]}
ASKING = ["mailchimp", "cloudevents"]
ENDPOINTS: tuple[Mapping[str, Any], ...] = (
    SHOP,
    {
        "kind": "endpoint", "name": "narrow", "scheme": LOGIN, "largest": 1000, "content_types": ["application/json"],
        "handshakes": ASKING,
    },
    {"kind": "endpoint", "name": "list", "scheme": LOGIN, "items": "@", "id": {"path": "id"}, "handshakes": ASKING},
    {"kind": "endpoint", "name": "rare", "scheme": LOGIN, "rate": {"limit": 1, "per": "1d"}},
    {"kind": "endpoint", "name": "unready", "scheme": {"type": "github", "secrets": ["env://NOBODY_SET_THIS"]}},
)  # fmt: skip
Ask = Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]


def post(path: str, content: bytes = b"{}", **headers: str) -> Ask:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda client: client.post(path, content=content, headers={**BEARER, **given})


async def reuse(client: httpx2.AsyncClient) -> httpx2.Response:
    await send(client, b"1", "one")
    return await send(client, b"2", "one")


async def exceed(client: httpx2.AsyncClient) -> httpx2.Response:
    await post("/in/rare")(client)
    return await post("/in/rare")(client)


ASKED: Mapping[tuple[str, str], Ask] = {
    ("400", "webhook-unreadable"): post("/in/list", b"{"),
    ("400", "id-missing"): post("/in/list", b"[{}]"),
    ("401", "not-believed"): post("/in/shop"),
    ("404", "endpoint-unknown"): post("/in/nowhere"),
    ("409", "id-reused"): reuse,
    ("413", "body-too-large"): post("/in/narrow", b"x" * 1001, content_type="application/json"),
    ("413", "batch-too-large"): post("/in/list", json.dumps([{"id": str(n)} for n in range(1001)]).encode()),
    ("415", "content-type-refused"): post("/in/narrow", content_type="text/xml"),
    ("415", "coding-refused"): post("/in/list", content_encoding="br"),
    ("429", "too-many-events"): exceed,
    ("503", "endpoint-unready"): post("/in/unready"),
}
APART = {("503", "inbox-busy"), ("503", "database-unavailable")}
"""Provoked otherwise: by less memory, and in test_inbox_limits.py by a database that cannot write."""


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(*ENDPOINTS)
    async with receiving(settings) as client:
        yield client


async def told(client: httpx2.AsyncClient, path: str, method: str) -> dict[str, Any]:
    answers: dict[str, Any] = (await client.get("/openapi.json")).json()["paths"][path][method]["responses"]
    return answers


def codes(answers: Mapping[str, Any]) -> set[tuple[str, str]]:
    kind = "application/problem+json"
    return {
        (status, code)
        for status, answer in answers.items()
        for code in answer.get("content", {}).get(kind, {}).get("examples", ())
    }


async def seen(client: httpx2.AsyncClient, ask: Ask) -> tuple[str, str]:
    answer = await ask(client)
    return str(answer.status_code), answer.json()["code"]


async def test_every_problem_that_is_told_comes_and_no_other_is_left_out(inbox: httpx2.AsyncClient) -> None:
    answers = await told(inbox, "/in/{endpoint}", "post")
    assert codes(answers) == ASKED.keys() | APART
    for named, ask in ASKED.items():
        assert await seen(inbox, ask) == named
    with pytest.MonkeyPatch.context() as full:
        full.setattr(writer, "MOST_WAITING", -1)
        assert await seen(inbox, post("/in/list")) == ("503", "inbox-busy")
    for path in ("/in/{endpoint}/{secret}", "/webhook", "/webhook/{secret}"):
        assert await told(inbox, path, "post") == answers


async def test_what_is_stored_and_what_was_there_is_answered_as_it_is_told(inbox: httpx2.AsyncClient) -> None:
    answers = await told(inbox, "/in/{endpoint}", "post")
    assert {status for status in answers if status[0] == "2"} == {"200", "202"}
    first, again = await send(inbox, b"{}", "one"), await send(inbox, b"{}", "one")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()
    assert first.json().keys() == {"id"}
    many = await post("/in/list", b'[{"id": 1}, {"id": 2}]')(inbox)
    assert (many.status_code, len(many.json()["ids"])) == (202, 2)


async def test_where_no_handshake_is_meant_the_problems_are_those_that_are_told(inbox: httpx2.AsyncClient) -> None:
    async def status(method: str, name: str, content: bytes = b"", coding: str = "") -> str:
        headers = {**BEARER, **({"Content-Encoding": coding} if coding else {})}
        return str((await inbox.request(method, f"/in/{name}", content=content, headers=headers)).status_code)

    for method in ("GET", "HEAD", "OPTIONS"):
        answers = await told(inbox, "/in/{endpoint}", method.lower())
        found = {
            await status(method, "shop"),
            await status(method, "nowhere"),
            await status(method, "unready"),
            await status(method, "list", coding="br"),
            await status(method, "list", gzip.compress(b"1")[:-1], "gzip"),
            await status(method, "narrow", b"x" * 1001),
        }
        assert found == {"405", "404", "503", "415", "400", "413"}
        assert answers.keys() - {"200", "default"} == found
    assert (await inbox.delete("/in/shop")).headers["allow"] == "POST"
    # A method that nobody asks by is refused before its body is looked at.
    refused = await inbox.put("/in/list", content=b"x", headers={"Content-Encoding": "gzip"})
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
