"""The guard: what a grant allows, what may be given on, and what a route may ask for."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from nms.common import web
from nms.common.guard import Caller, is_grant, requires
from nms.common.router import Router
from nms.common.settings import RoleSettings
from nms.common.token import mint_token
from tests.service.web_client import client_of, problem_of, settings_in

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        ("pipelines:read", "pipelines:read", True),
        ("pipelines:read", "pipelines:write", False),
        ("pipelines:*", "pipelines:write", True),
        ("pipelines:*", "pipeline:write", False),
        ("pipelines:*", "runs:read", False),
        ("*", "runs:write", True),
        ("pipelines", "pipelines:read", False),
        ("*:read", "pipelines:read", False),
        ("", "pipelines:read", False),
        ("PIPELINES:READ", "pipelines:read", False),
        ("entities:read:customers", "entities:read:customers", True),
        ("entities:read:customers", "entities:read:posts", False),
        ("entities:read:customers", "entities:read", False),
        ("entities:read:customers", "entities:write:customers", False),
        ("entities:read", "entities:read:customers", True),
        ("entities:write", "entities:read:customers", False),
        ("entities:*", "entities:read:customers", True),
        ("*", "entities:read:customers", True),
        ("other:*", "entities:read:customers", False),
    ],
)
def test_scopes_and_wildcards(held: str, asked: str, allowed: bool) -> None:
    assert Caller("ann", "one", frozenset(held.split()), NOW).may(asked) is allowed


@pytest.mark.parametrize(
    "scope",
    ["", "*", "pipelines:*", "pipelines", "Pipelines:read", "a:b c:d", "a:b:", "a:b:*", "a:b:{x} c:d", "a:b:c:d"],
)
def test_a_route_asks_for_one_exact_scope(scope: str) -> None:
    with pytest.raises(ValueError, match="noun:verb"):
        requires(scope)


@pytest.mark.parametrize("grant", ["a:b", "a:*", "*", "a:b:c", "a:b:2024_data", "long-noun:long-verb:an-instance"])
def test_a_grant_is_a_scope_or_a_wildcard(grant: str) -> None:
    assert is_grant(grant)


@pytest.mark.parametrize(
    "grant", ["", "**", "*:b", "a", "a:", "a:b:*", "a:*:c", "a:b:c:d", "A:b", "a:b ", "a:b\n", "a:b:C"]
)
def test_nothing_else_is_a_grant(grant: str) -> None:
    assert not is_grant(grant)


@pytest.mark.parametrize(
    ("held", "given", "covered"),
    [
        ("*", "* users:* a:b:c", True),
        ("users:*", "users:* users:write users:read:ann", True),
        ("users:read", "users:read users:read:ann", True),
        ("users:read users:write", "users:*", False),
        ("users:*", "*", False),
        ("users:read:ann", "users:read", False),
        ("users:*", "users:read roles:read", False),
        ("*", "*:read", False),
        ("", "", True),
    ],
)
def test_nobody_gives_more_than_he_has(held: str, given: str, covered: bool) -> None:
    assert Caller("ann", "one", frozenset(held.split()), NOW).covers(given.split()) is covered


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        ("entities:read:customers", True),
        ("entities:read", True),
        ("entities:*", True),
        ("*", True),
        ("entities:write:customers", False),
        ("entities:reading:customers", False),
        ("", False),
    ],
)
def test_one_instance_is_enough_where_any_will_do(held: str, allowed: bool) -> None:
    assert Caller("ann", "one", frozenset(held.split()), NOW).may_any("entities:read") is allowed


router = Router(prefix="/entities")


@router.get("")
async def read_any(caller: Caller = requires("entities:read", of_any=True)) -> str:
    return caller.subject


@router.put("/{entity}")
async def write_entity(
    entity: str, caller: Caller = requires("entities:write:{entity}", seen_by="entities:read:{entity}")
) -> list[str]:
    return [entity, caller.subject]


@router.get("/{entity}")
async def read_entity(entity: str, caller: Caller = requires("entities:read:{entity}")) -> list[str]:
    return [entity, caller.subject]


async def test_an_instance_is_taken_from_the_path(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    app: FastAPI = web.create_app(
        web.Role(name="demo", summary="", description="", routers=[router]), settings, RoleSettings()
    )
    async with client_of(app, mint_token(settings, ["entities:read:customers"], subject="ann")) as one:
        assert (await one.get("/entities/customers")).json() == ["customers", "ann"]
        refused = problem_of(await one.get("/entities/posts"), 403, "scope-missing")
        assert refused["scope"] == "entities:read:posts"
        for harmful in ("*", "a%22b", "a%0d%0ab", "Customers", "customers%20"):
            answer = await one.get(f"/entities/{harmful}")
            assert problem_of(answer, 403, "scope-missing")["scope"] == "entities:read"
    async with client_of(app, mint_token(settings, ["entities:read"], subject="ann")) as every:
        assert (await every.get("/entities/Posts")).json() == ["Posts", "ann"]


@pytest.mark.parametrize(
    ("held", "put", "listed"),
    [
        ("entities:write:posts", 200, 403),
        ("entities:write", 200, 403),
        ("*", 200, 200),
        ("entities:read:posts", 403, 200),
        ("entities:read", 403, 200),
        ("entities:read:customers entities:write:customers", 404, 200),
        ("tasks:read", 404, 403),
    ],
)
async def test_what_a_caller_may_not_see_is_not_there(tmp_path: Path, held: str, put: int, listed: int) -> None:
    settings = settings_in(tmp_path)
    role = web.Role(name="demo", summary="", description="", routers=[router])
    app: FastAPI = web.create_app(role, settings, RoleSettings())
    async with client_of(app, mint_token(settings, held.split(), subject="ann")) as client:
        answer = await client.put("/entities/posts")
        assert (answer.status_code, (await client.get("/entities")).status_code) == (put, listed)
        if put == 404:
            nowhere = (await client.get("/nowhere/at/all")).json()
            assert {**answer.json(), "request_id": ""} == {**nowhere, "request_id": ""}
