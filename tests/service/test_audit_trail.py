"""Every use case of auth that writes leaves its entry in the audit, and the page about the audit names them all."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nms.auth.claim import ClaimRepository
from nms.auth.claims import open_claim
from nms.auth.main import create_app
from nms.auth.repository import AuthRepository
from nms.common.router import list_scopes
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from tests.service.web_client import client_of

PAGE = Path(__file__).parents[2] / "docs/how-to/read-the-audit.md"
PASSWORD, OTHER = "four words by chance", "four other words instead"
ADA, EVE = "ada@example.org", "eve@example.org"


@dataclass
class Walk:
    """A walk over the routes: what was called, what each call added to the audit."""

    client: httpx2.AsyncClient
    repository: AuthRepository
    seen: int = 0
    walked: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)
    token: str = ""

    async def step(self, route: str, entries: list[str], *, at: Mapping[str, str] | None = None, **sent: Any) -> Any:
        """Call a route and compare what it added, refused entries in brackets; gives its JSON."""
        method, _, path = route.partition(" ")
        self.walked.add(route)
        for name, value in (at or {}).items():
            path = path.replace(f"{{{name}}}", value)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = await self.client.request(method, path, headers=headers, **sent)
        rows = await self.repository.connection.fetch(
            "select id, action, outcome from auth.audit where id > $1 order by id", self.seen
        )
        added = [row["action"] if row["outcome"] == "done" else f"({row['action']})" for row in rows]
        assert added == entries, f"{route}: {answer.text}"
        self.seen = max((row["id"] for row in rows), default=self.seen)
        self.noted |= set(added)
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else None

    async def log_in(self, email: str, password: str) -> dict[str, str]:
        tokens = await self.step("POST /token", ["session.open"], data={"username": email, "password": password})
        self.token = tokens["access_token"]
        return dict(tokens)


@pytest.fixture
async def walk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Walk]:
    monkeypatch.setenv("AUTH_WORKER", "false")
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield Walk(client, await AuthRepository.open())


async def walk_claim(walk: Walk, settings: Settings) -> None:
    claim = await open_claim(await ClaimRepository.open(), settings)
    assert claim is not None
    body = {"email": ADA, "password": PASSWORD}
    await walk.step("POST /claim", ["(claim.use)"], json={**body, "token": "wrong"})
    await walk.step("POST /claim", ["user.create", "claim.use"], json={**body, "token": claim.token})


async def walk_roles(walk: Walk) -> None:
    body = {"description": "", "scopes": ["pipelines:read"]}
    await walk.step("POST /roles", ["role.create"], json={**body, "name": "watcher"})
    changed = {**body, "scopes": ["pipelines:read", "config:read"]}
    await walk.step("PUT /roles/{name}", ["role.change"], at={"name": "watcher"}, json=changed)


async def walk_users(walk: Walk) -> str:
    new = {"email": EVE, "password": PASSWORD, "roles": []}
    eve: str = (await walk.step("POST /users", ["user.create"], json=new))["id"]
    at = {"id": eve}
    for change, entry in (
        ({"name": "Eve"}, "user.change"),
        ({"roles": ["watcher", "viewer"]}, "user.grant"),
        ({"password": OTHER}, "user.password"),
        ({"disabled": True}, "user.disable"),
        ({"disabled": False}, "user.enable"),
    ):
        await walk.step("PATCH /users/{id}", [entry], at=at, json=change)
    return eve


async def walk_sessions(walk: Walk) -> None:
    wrong = {"username": EVE, "password": "wrong"}
    await walk.step("POST /token", ["(session.open)"], data=wrong)
    await walk.step("POST /token", ["(session.open)"], data={**wrong, "username": "nobody@example.org"})
    tokens = await walk.log_in(EVE, OTHER)
    more = {"username": EVE, "password": OTHER, "scope": "users:write"}
    await walk.step("POST /token", ["(session.open)"], data=more)
    refresh = {"refresh_token": tokens["refresh_token"]}
    await walk.step("POST /token/refresh", [], data=refresh)
    past = "update auth.session set rotations = array[now() - interval '1 hour'] where ended_at is null"
    await walk.repository.connection.execute(past)
    await walk.step("POST /token/refresh", ["(session.end)"], data=refresh)
    tokens = await walk.log_in(EVE, OTHER)
    wrong = {"current": "wrong", "new": PASSWORD}
    await walk.step("PUT /me/password", ["(user.password)"], json=wrong)
    await walk.step("PUT /me/password", ["user.password"], json={**wrong, "current": OTHER})
    tokens = await walk.log_in(EVE, PASSWORD)
    await walk.step("POST /token/revoke", ["session.end"], data={"token": tokens["access_token"]})
    tokens = await walk.log_in(EVE, PASSWORD)
    await walk.step("POST /token/revoke", ["session.end"], data={"token": tokens["refresh_token"]})
    oncall = mint_token(get_settings(), ["users:read"], subject="oncall")
    await walk.step("POST /token/revoke", ["token.revoke"], data={"token": oncall})
    tokens = await walk.log_in(EVE, PASSWORD)
    sessions = (await walk.client.get("/sessions", headers={"Authorization": f"Bearer {walk.token}"})).json()["items"]
    current = next(each["id"] for each in sessions if each["current"])
    await walk.step("DELETE /sessions/{session}", ["session.end"], at={"session": current})


async def walk_service_tokens(walk: Walk) -> None:
    new = {"name": "robot", "scopes": ["pipelines:read"]}
    robot = (await walk.step("POST /service-tokens", ["service-token.create"], json=new))["id"]
    await walk.step("POST /service-tokens/{id}/rotate", ["service-token.rotate"], at={"id": robot})
    await walk.step("DELETE /service-tokens/{id}", ["service-token.revoke"], at={"id": robot})


async def test_whatever_writes_is_noted(walk: Walk, settings: Settings) -> None:
    await walk_claim(walk, settings)
    await walk.log_in(ADA, PASSWORD)
    admin = walk.token
    await walk_roles(walk)
    eve = await walk_users(walk)
    await walk_sessions(walk)
    walk.token = admin
    await walk.step("POST /introspect", [], data={"token": admin})
    await walk_service_tokens(walk)
    await walk.step("DELETE /users/{id}", ["user.delete"], at={"id": eve})
    await walk.step("DELETE /roles/{name}", ["role.delete"], at={"name": "watcher"})
    routes = list_scopes(create_app(settings))
    assert {route for route in routes if not route.startswith("GET")} - walk.walked == set()
    # `nms keys rotate` is a command, and has its own test.
    assert {entry.strip("()") for entry in walk.noted} == actions_of_the_page() - {"key.rotate"}


def actions_of_the_page() -> set[str]:
    text = PAGE.read_text(encoding="utf-8").partition("## What is declared")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {action for row in rows for action in re.findall(r"`([a-z-]+\.[a-z-]+)`", row)}
