"""One endpoint behind different doors, each the only route of an app of its own: a place in a list of routes costs too.

`uvicorn --factory bench.auth.doors:Doors` serves all of them, the door's name before the path: `/bare/thing`.
"""

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI
from starlette.types import Receive, Scope, Send

from nms.common import web
from nms.common.guard import Caller, requires
from nms.common.router import Router
from nms.common.settings import RoleSettings, Settings, get_settings
from nms.common.web import Role

SCOPE = "things:read"


async def answer() -> dict[str, str]:
    return {"name": "thing"}


async def answer_caller(caller: Caller = requires(SCOPE)) -> dict[str, str]:
    del caller
    return {"name": "thing"}


async def do_nothing() -> None:
    """What FastAPI itself asks for any dependency: shown beside, and the proof that the meter sees such a cost."""


def make_app(settings: Settings, endpoint: Callable[..., Any], **options: Any) -> FastAPI:
    """The app of a role with this one route."""
    router = Router()
    router.get("/thing", **options)(endpoint)
    role = Role(name="auth", summary="", description="", routers=(router,), public=frozenset({"/thing"}))
    return web.create_app(role, settings, RoleSettings())


class Doors:
    """An ASGI app of apps: the first part of the path says which."""

    def __init__(self, settings: Settings | None = None) -> None:
        given = settings or get_settings()
        self.apps = {
            "bare": make_app(given, answer),
            "guarded": make_app(given, answer, dependencies=[requires(SCOPE)]),
            "caller": make_app(given, answer_caller),
            "empty": make_app(given, answer, dependencies=[Depends(do_nothing)]),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, path = "bare", scope.get("path", "")
        if path.count("/") > 1:
            name, _, rest = path[1:].partition("/")
            scope["path"] = f"/{rest}"
        await self.apps[name](scope, receive, send)
