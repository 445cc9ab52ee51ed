"""Deny by default: every route of every role asks for a scope, or stands on a short public list."""

from importlib import import_module
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.routing import iter_route_contexts

from nms.common.guard import Caller, Guard, requires
from nms.common.router import PUBLIC_PATHS, GuardedRoute, Router, list_scopes, list_unguarded
from nms.common.settings import Settings, read_settings
from tests.house.tree import ROOT, refuse

ROLES = ("auth", "cfg", "inbox", "sync", "warehouse", "console")
PUBLIC: dict[str, set[str]] = {
    "auth": {"/token", "/token/refresh", "/token/revoke", "/.well-known/jwks.json", "/claim"},
    "process": {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/{asset}"},
}
"""Every path that answers without a token, and whose it is: adding one here is a decision to be seen in review."""


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return read_settings(Settings, environment="test", data_dir=tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", ROLES)
def test_every_route_asks_for_a_scope(name: str, settings: Settings) -> None:
    app = import_module(f"nms.{name}.main").create_app(settings)
    assert app.role.name == name
    assert app.role.public == PUBLIC.get(name, set())
    refuse(f"{name}: {route} asks for no scope" for route in list_unguarded(app, PUBLIC.get(name, set())))


@pytest.mark.parametrize("name", ROLES)
def test_every_guard_is_asked_before_the_request_is_read(name: str, settings: Settings) -> None:
    app = import_module(f"nms.{name}.main").create_app(settings)
    late = [
        f"{name}: {context.path}: take nms.common.router.Router, whose guard costs a tenth"
        for context in iter_route_contexts(app.routes)
        if not isinstance(context.original_route, GuardedRoute) and context.path not in PUBLIC_PATHS
    ]
    refuse(late)


def test_what_is_public_in_every_role_is_listed_here() -> None:
    assert PUBLIC["process"] == PUBLIC_PATHS


def test_every_room_is_looked_at() -> None:
    assert {path.parent.name for path in ROOT.glob("nms/*/main.py")} - {"cli"} == set(ROLES)


async def open_door() -> None: ...


def planted() -> FastAPI:
    guarded, half, plain = APIRouter(prefix="/guarded"), APIRouter(prefix="/half"), APIRouter(prefix="/plain")
    guarded.get("", dependencies=[requires("doors:read")])(open_door)
    half.get("", dependencies=[requires("doors:read")])(open_door)
    half.post("", dependencies=[Depends(open_door)])(open_door)
    plain.get("/{number}")(open_door)
    inner = APIRouter(prefix="/inner")
    inner.include_router(plain)
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(guarded)
    app.include_router(half)
    app.include_router(inner)
    app.include_router(plain, prefix="/covered", dependencies=[requires("doors:read")])
    app.mount("/mounted", FastAPI())
    app.add_route("/bare", lambda _request: Response(), methods=["GET"])
    app.add_api_websocket_route("/socket", open_door)
    return app


def test_a_planted_route_without_scope_is_found_wherever_it_hides() -> None:
    assert list_unguarded(planted()) == [
        "POST /half",
        "GET /inner/plain/{number}",
        "ANY /mounted",
        "GET,HEAD /bare",
        "ANY /socket",
    ]


def test_a_guarded_route_asks_for_one_scope_however_it_is_written() -> None:
    router = Router()

    @router.get("/taker")
    async def take(caller: Caller = requires("doors:read")) -> None: ...

    @router.get("/annotated")
    async def annotated(caller: Annotated[Caller, requires("doors:write")]) -> None: ...

    router.get("/listed", dependencies=[requires("doors:list")])(open_door)
    router.get("/open")(open_door)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router, prefix="/under")
    scopes = {"taker": "doors:read", "annotated": "doors:write", "listed": "doors:list", "open": None}
    assert list_scopes(app) == {f"GET /under/{path}": scope for path, scope in scopes.items()}
    with pytest.raises(ValueError, match="several scopes"):
        router.get("/both", dependencies=[requires("doors:list")])(take)


def test_the_public_list_lets_through_what_it_names_and_nothing_else() -> None:
    assert list_unguarded(planted(), {"/half", "/bare", "/mounted", "/socket"}) == ["GET /inner/plain/{number}"]


def test_a_scope_asked_for_deeper_down_counts() -> None:
    async def nested(_caller: object = requires("doors:read")) -> None: ...

    app = FastAPI(docs_url=None, redoc_url=None)
    app.get("/deep", dependencies=[Depends(nested)])(open_door)
    assert list_unguarded(app) == []
    assert Guard("doors:read").scope == "doors:read"
