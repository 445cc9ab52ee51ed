"""No route waits for a thread: FastAPI runs endpoints and dependencies that are a plain `def` in one, for 220 us."""

from collections.abc import Iterator
from importlib import import_module
from inspect import isasyncgenfunction, iscoroutinefunction, unwrap
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts

from nms.common.settings import Settings, read_settings
from tests.house.test_scopes import ROLES
from tests.house.tree import refuse


def list_threaded(app: FastAPI) -> list[str]:
    """Every endpoint and dependency that runs in a thread, as `path: name`."""
    found = []
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        found += [f"{context.path}: {name}" for name in threaded_of(dependant)]
    return found


def threaded_of(dependant: Any) -> Iterator[str]:
    if dependant is None:
        return
    # FastAPI looks through wrappers, too.
    call = unwrap(dependant.call)
    acts = (call, getattr(call, "__call__", None))  # noqa: B004 - a guard is an object with an async `__call__`
    if not any(iscoroutinefunction(act) or isasyncgenfunction(act) for act in acts):
        yield getattr(call, "__name__", repr(call))
    for child in dependant.dependencies:
        yield from threaded_of(child)


@pytest.mark.parametrize("name", ROLES)
def test_no_endpoint_and_no_dependency_runs_in_a_thread(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = read_settings(Settings, environment="test", data_dir=tmp_path_factory.mktemp("data"))
    app = import_module(f"nms.{name}.main").create_app(settings)
    refuse(f"{name}: {fault} is a plain def: make it async" for fault in list_threaded(app))


def test_a_planted_plain_def_is_found_wherever_it_hides() -> None:
    def plain() -> None: ...
    async def between(_: None = Depends(plain)) -> None: ...
    async def endpoint() -> None: ...
    def blocking() -> None: ...

    router = APIRouter()
    router.get("/deep", dependencies=[Depends(between)])(endpoint)
    router.get("/good")(endpoint)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.get("/self")(blocking)
    assert list_threaded(app) == ["/deep: plain", "/self: blocking"]
