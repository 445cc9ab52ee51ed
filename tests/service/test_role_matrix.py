"""The role matrix: every route of every role, asked by every kind of caller, against the table of who is let in."""

import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from nms.auth.revocations import revoke
from nms.common import web
from nms.common.guard import requires
from nms.common.router import Router, list_scopes
from nms.common.settings import RoleSettings, Settings
from tests.house.tree import refuse
from tests.service.role_matrix import (
    MADE_UP,
    OTHER_SERVICE,
    PUBLIC,
    ROLES,
    ROUTES,
    SCOPES,
    SERVICE,
    answers_of,
    plain,
    scopes_of,
)
from tests.service.signing import House, house_of
from tests.service.test_tokens import claims_of
from tests.service.trusting import Auth, Signer, auth_of
from tests.service.web_client import client_of
from tests.waiting import eventually

BODIES = {"content": b"{", "headers": {"Content-Type": "application/json"}}
"""Neither JSON nor a form: who is let in is told so, and nothing is done."""

ENDLESS = {"GET /watch": {"since": 2**62}}
"""How to ask what would never end so that it does."""


@dataclass
class Cast:
    """The callers: a token of each kind, and service tokens by the scope that they have or lack."""

    tokens: Mapping[str, str]
    fitting: Mapping[str, str]
    lacking: Mapping[str, str]

    def token_of(self, caller: str, scope: str) -> str | None:
        """The token that a caller brings to a route of this scope."""
        if caller == SERVICE:
            return self.fitting[plain(scope)]
        return self.lacking[plain(scope)] if caller == OTHER_SERVICE else self.tokens.get(caller)


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every route of an app, as `METHOD path`, with the scope that its guard asks for."""
    for route, scope in list_scopes(app).items():
        methods, _, path = route.partition(" ")
        for method in set(methods.split(",")) - {"HEAD"}:
            yield f"{method} {path}", scope or PUBLIC


def unlisted(name: str, found: Iterable[tuple[str, str]], table: Mapping[str, str]) -> list[str]:
    """What the routes of a role and its table do not have in common."""
    asked = dict(found)
    lines = [f"{name}: {route} asks for {scope}, the table says {table.get(route, 'nothing of it')}"
             for route, scope in asked.items() if table.get(route) != scope]  # fmt: skip
    return lines + [f"{name}: {route} stands in the table and nowhere else" for route in table.keys() - asked.keys()]


async def misjudged(app: FastAPI, table: Mapping[str, str], cast: Cast) -> list[str]:
    """Who is answered otherwise than the table says, on any route of a living app."""
    lines = []
    async with client_of(app) as client:
        for route, scope in table.items():
            for caller, refusal in answers_of(scope):
                status = await status_of(client, route, cast.token_of(caller, scope))
                if status >= 500 or (status if status in (401, 403) else None) != refusal:
                    lines.append(f"{route}: {caller} is answered {status}, not {refusal or 'let in'}")
    return lines


async def status_of(client: httpx2.AsyncClient, route: str, token: str | None) -> int:
    method, path = route.split()
    path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: MADE_UP.get(found[1], "nobody"), path)
    options: dict[str, Any] = {"params": ENDLESS.get(route)} if method == "GET" else BODIES
    headers = {**options.get("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    return (await client.request(method, path, **{**options, "headers": headers})).status_code


@pytest.fixture
async def cast(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cast]:
    monkeypatch.setenv("SYNC_WORKER", "false")
    monkeypatch.setenv("AUTH_WORKER", "false")
    assert settings.db_auth_dsn is not None
    async with house_of(settings) as house, auth_of(settings.db_auth_dsn.get_secret_value()) as auth:
        tokens = {role: (await logged_in(house, role, role))["access_token"] for role in ROLES}
        tokens |= await worthless_tokens(house, tokens["admin"])
        fitting = {scope: (await auth.add_service(scope))[0] for scope in SCOPES}
        yield Cast(tokens, fitting, {scope: await lacking(auth, scope) for scope in SCOPES})


async def lacking(auth: Auth, scope: str) -> str:
    token, _ = await auth.add_service(*(SCOPES.keys() - {scope}))
    return token


async def logged_in(house: House, name: str, role: str) -> dict[str, Any]:
    await house.add(f"{name}@example.org", role)
    return await house.log_in(f"{name}@example.org")


async def worthless_tokens(house: House, good: str) -> dict[str, str]:
    """Tokens that were an administrator's, or look so, by why they are refused."""
    gone, closed = await logged_in(house, "gone", "admin"), await logged_in(house, "closed", "admin")
    await house.client.post("/token/revoke", data={"token": gone["refresh_token"]})
    await disable(house, claims_of(closed["access_token"])["sub"])
    claims, kid, now = claims_of(good), claims_of(good, 0)["kid"], int(time.time())
    signer = await house.app.state.issuer.keyring.signer(house.repository)
    old = {**claims, "iat": now - 700, "nbf": now - 700, "exp": now - 100}
    assert (await house.ask("GET", "/audit", {"access_token": signer.sign(claims)})).status_code == 200
    tokens = {
        "expired": signer.sign(old),
        "logged out": gone["access_token"],
        "disabled": closed["access_token"],
        "another key": Signer(kid).sign(**claims),
    }

    async def refused() -> bool:
        answers = [await house.ask("GET", "/audit", {"access_token": one}) for one in tokens.values()]
        return {answer.status_code for answer in answers} == {401}

    await eventually(refused, 2)
    return tokens


async def disable(house: House, account: str) -> None:
    async with house.repository.transaction() as tx:
        revision = await house.pool.fetchval(
            "update auth.account set disabled = true, revision = revision + 1 where id = $1 returning revision", account
        )
        await revoke(tx, "account", account, revision)


@asynccontextmanager
async def all_roles(settings: Settings) -> AsyncIterator[dict[str, FastAPI]]:
    """The apps of all roles, living in this process."""
    async with AsyncExitStack() as stack:
        apps = {name: import_module(f"nms.{name}.main").create_app(settings) for name in ROUTES}
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield apps


async def test_every_route_lets_in_whom_the_table_names_and_nobody_else(settings: Settings, cast: Cast) -> None:
    async with all_roles(settings) as apps:
        for name, app in apps.items():
            refuse(unlisted(name, routes_of(app), ROUTES[name]))
            refuse(f"{name}: {line}" for line in await misjudged(app, ROUTES[name], cast))


def test_every_scope_is_asked_for_somewhere() -> None:
    assert {plain(scope) for table in ROUTES.values() for scope in table.values()} == {PUBLIC, *SCOPES}


async def test_the_built_in_roles_hold_what_the_table_says(settings: Settings) -> None:
    async with house_of(settings) as house:
        rows = await house.pool.fetch("select name, scopes from auth.role where built_in")
    assert {row["name"]: set(row["scopes"]) for row in rows} == {role: scopes_of(role) for role in ROLES}


def planted() -> web.Role:
    """A role with three mistakes: a route that asks for too little, one for too much, one that nobody listed."""
    router = Router()
    for path, scope in (("/loose", "me:read"), ("/tight", "audit:read"), ("/new", "me:read"), ("/good", "tasks:write")):

        async def answer() -> None: ...

        router.get(path, dependencies=[requires(scope)])(answer)
    return web.Role(name="demo", summary="", description="", routers=[router])


async def test_a_planted_route_that_asks_for_another_scope_is_found(settings: Settings, cast: Cast) -> None:
    app = web.create_app(planted(), settings, RoleSettings())
    table = {"GET /loose": "audit:read", "GET /tight": "me:read", "GET /good": "tasks:write", "GET /gone": PUBLIC}
    async with app.router.lifespan_context(app):
        found = await misjudged(app, table, cast)
    lines = unlisted("demo", routes_of(app), table | ROUTES["console"])
    assert [line.partition(" asks")[0] for line in lines[:3]] == [
        f"demo: GET /{one}" for one in ("loose", "tight", "new")
    ]
    assert lines[3:] == ["demo: GET /gone stands in the table and nowhere else"]
    assert found == [
        "GET /loose: viewer is answered 200, not 403",
        "GET /loose: operator is answered 200, not 403",
        f"GET /loose: {SERVICE} is answered 403, not let in",
        f"GET /loose: {OTHER_SERVICE} is answered 200, not 403",
        "GET /tight: viewer is answered 403, not let in",
        "GET /tight: operator is answered 403, not let in",
        f"GET /tight: {SERVICE} is answered 403, not let in",
        f"GET /tight: {OTHER_SERVICE} is answered 200, not 403",
    ]
