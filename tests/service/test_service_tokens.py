"""Service tokens: shown once, rotated with an overlap, revoked, never more than their giver holds."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from nms.auth.main import create_app
from nms.auth.repository import AuthRepository
from nms.common import outbox, service_token
from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.sync.main import create_app as create_sync
from tests.service.web_client import client_of, problem_of
from tests.waiting import eventually

SCOPES = ["service-tokens:read", "service-tokens:write", "pipelines:read", "config:*", "audit:read"]
ROBOT = {"name": "robot", "description": "counts", "scopes": ["pipelines:read"]}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(create_app(settings), mint_token(settings, SCOPES, subject="ada")) as client:
        yield client


@pytest.fixture
async def sync(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Another role, which lives and so hears of what auth revokes."""
    settings = settings.model_copy()
    app: FastAPI = create_sync(settings)
    app.state.life.work = None
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def create(client: httpx2.AsyncClient, **parts: Any) -> dict[str, Any]:
    answer = await client.post("/service-tokens", json={**ROBOT, **parts})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made: dict[str, Any] = answer.json()
    return made


async def status_of(sync: httpx2.AsyncClient, token: str) -> int:
    return (await sync.get("/pipelines", headers={"Authorization": f"Bearer {token}"})).status_code


async def test_a_token_is_shown_once_kept_as_a_hash_and_accepted_by_another_role(
    client: httpx2.AsyncClient, sync: httpx2.AsyncClient, settings: Settings
) -> None:
    made = await create(client, ttl=3600)
    token = made.pop("token")
    assert service_token.is_well_formed(token)
    assert made["secrets"][0]["hint"] == service_token.hint_of(token)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert await status_of(sync, token) == 200
    read = (await client.get(f"/service-tokens/{made['id']}")).json()
    assert read == made
    connection = (await AuthRepository.open()).connection
    kept = await connection.fetchval("select string_agg(t::text, ' ') from auth.service_secret t")
    noted = (await client.get("/audit", params={"action": "service-token.create"})).text
    assert token not in kept + noted


async def test_when_it_was_used_last_is_told(client: httpx2.AsyncClient, settings: Settings) -> None:
    made = await create(client)
    app: FastAPI = create_sync(settings)
    app.state.life.work = None
    async with app.router.lifespan_context(app), client_of(app, made["token"]) as sync:
        assert (await sync.get("/pipelines")).status_code == 200
    (secret,) = (await client.get(f"/service-tokens/{made['id']}")).json()["secrets"]
    assert datetime.now(UTC) - datetime.fromisoformat(secret["last_used_at"]) < timedelta(minutes=1)


async def test_after_a_rotation_both_secrets_are_good_until_the_overlap_ends(
    client: httpx2.AsyncClient, sync: httpx2.AsyncClient
) -> None:
    made = await create(client)
    path = f"/service-tokens/{made['id']}"
    rotated = (await client.post(f"{path}/rotate", json={"overlap": 600})).json()
    assert await status_of(sync, made["token"]) == await status_of(sync, rotated["token"]) == 200
    newest, earlier = rotated["secrets"]
    assert newest["good_until"] is None
    end = datetime.fromisoformat(earlier["good_until"])
    assert timedelta(minutes=9) < end - datetime.now(UTC) <= timedelta(minutes=10)
    last = (await client.post(f"{path}/rotate", json={"overlap": 0})).json()

    async def earlier_are_refused() -> bool:
        return [await status_of(sync, each["token"]) for each in (made, rotated)] == [401, 401]

    await eventually(earlier_are_refused)
    assert await status_of(sync, last["token"]) == 200


async def test_a_rotation_never_lengthens_an_overlap(client: httpx2.AsyncClient) -> None:
    path = f"/service-tokens/{(await create(client))['id']}"
    first = (await client.post(f"{path}/rotate", json={"overlap": 60})).json()["secrets"][1]
    again = (await client.post(f"{path}/rotate")).json()["secrets"]
    assert again[2] == first
    left = datetime.fromisoformat(again[1]["good_until"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)


async def test_a_revoked_token_is_refused_everywhere_within_a_second_and_its_name_is_free(
    client: httpx2.AsyncClient, sync: httpx2.AsyncClient
) -> None:
    made = await create(client)
    path = f"/service-tokens/{made['id']}"
    assert await status_of(sync, made["token"]) == 200
    assert (await client.delete(path)).status_code == 204

    async def is_refused() -> bool:
        return await status_of(sync, made["token"]) == 401

    await eventually(is_refused, 1)
    assert (await client.delete(path)).status_code == 204
    problem_of(await client.post(f"{path}/rotate"), 409, "service-token-over")
    again = await create(client)
    listed = (await client.get("/service-tokens")).json()["items"]
    assert [each["id"] for each in listed] == [again["id"]]
    listed = (await client.get("/service-tokens?revoked=true")).json()["items"]
    assert [each["id"] for each in listed] == [made["id"]]


async def test_they_are_listed_by_name_in_pages(client: httpx2.AsyncClient) -> None:
    for name in ("dog", "ant", "cat", "bee", "eel"):
        await create(client, name=name)
    found, path = [], "/service-tokens?limit=2"
    while path:
        page = (await client.get(path)).json()
        found += [each["name"] for each in page["items"]]
        path = f"/service-tokens?limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == ["ant", "bee", "cat", "dog", "eel"]


async def test_nobody_gives_or_takes_more_than_he_holds(client: httpx2.AsyncClient, settings: Settings) -> None:
    for scopes in (["*"], ["pipelines:write"], ["pipelines:*"], ["pipelines:read", "users:write"]):
        answer = await client.post("/service-tokens", json={**ROBOT, "scopes": scopes})
        assert problem_of(answer, 403, "grant-exceeded")["scopes"]
    made = await create(client, scopes=["pipelines:read:orders", "config:write"])
    client.headers["Authorization"] = f"Bearer {mint_token(settings, ['service-tokens:*'], subject='eve')}"
    for answer in (
        await client.post(f"/service-tokens/{made['id']}/rotate"),
        await client.delete(f"/service-tokens/{made['id']}"),
    ):
        problem_of(answer, 403, "grant-exceeded")
    client.headers["Authorization"] = f"Bearer {mint_token(settings, SCOPES, subject='ada')}"
    entries = (await client.get("/audit?outcome=refused")).json()["items"]
    assert [(each["actor"], each["action"]) for each in entries[:2]] == [
        ("operator:eve", "service-token.revoke"),
        ("operator:eve", "service-token.rotate"),
    ]
    assert len(entries) == 6


async def test_every_change_is_told_and_noted(client: httpx2.AsyncClient) -> None:
    made = await create(client)
    await client.post(f"/service-tokens/{made['id']}/rotate")
    await client.delete(f"/service-tokens/{made['id']}")
    repository = await AuthRepository.open()
    await outbox.stamp(repository)
    told = [event for _, event in await outbox.read(repository, 0, ["auth.*"], 10)]
    assert [event.type.rpartition(".")[2] for event in told] == ["created", "rotated", "revoked"]
    assert {event.key for event in told} == {made["id"]}
    entries = (await client.get("/audit", params={"subject": made["id"]})).json()["items"]
    assert [each["action"] for each in entries] == [
        f"service-token.{action}" for action in ("revoke", "rotate", "create")
    ]


MALFORMED: tuple[dict[str, Any], ...] = (
    {"name": "Robot"},
    {"name": ""},
    {"scopes": []},
    {"scopes": ["pipelines"]},
    {"scopes": ["*:read"]},
    {"ttl": 0},
    {"ttl": 60, "expires_at": "2100-01-01T00:00:00Z"},
    {"expires_at": "2020-01-01T00:00:00Z"},
    {"expires_at": "2100-01-01T00:00:00"},
    {"expires_at": "9999-12-31T23:59:59-14:00"},
    {"description": "a\u0000b"},
    {"colour": "red"},
)


async def test_what_cannot_be_a_service_token_is_malformed(client: httpx2.AsyncClient) -> None:
    for parts in MALFORMED:
        answer = await client.post("/service-tokens", json={**ROBOT, **parts})
        assert answer.status_code == 422, (parts, answer.text)
    assert (await client.get("/service-tokens")).json()["items"] == []


async def test_a_name_is_taken_once_and_what_is_not_there_is_not_found(client: httpx2.AsyncClient) -> None:
    await create(client)
    problem_of(await client.post("/service-tokens", json=ROBOT), 409, "duplicate")
    absent = "/service-tokens/00000000-0000-0000-0000-000000000000"
    for answer in (await client.get(absent), await client.post(f"{absent}/rotate"), await client.delete(absent)):
        problem_of(answer, 404, "not-found")
    for overlap in (-1, 30 * 86_400 + 1):
        assert (await client.post(f"{absent}/rotate", json={"overlap": overlap})).status_code == 422
