"""The life of a role: readiness, resources, background work, mounting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from nms.common import health, web
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router
from nms.common.settings import RoleSettings, Settings
from nms.common.token import mint_token
from tests.service.web_client import PASSWORD, client_of, problem_of, settings_in
from tests.waiting import Stopwatch

NAMES = [f"p{number}" for number in range(8)]
router = Router(prefix="/names", tags=["names"])


@router.get("", dependencies=[requires("names:read")])
async def list_names(paging: Paging) -> Page[str]:
    after = paging.after[0] if paging.after else ""
    return paging.page([name for name in NAMES if name > after][: paging.size], key=lambda name: [name])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


async def hang() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise OSError(f"no route to {PASSWORD}")


async def succeed() -> None: ...


@pytest.mark.parametrize(("probe", "code"), [(hang, "no-answer"), (fail, "probe-failed")])
async def test_readiness_names_the_dependency_that_is_away_in_time(settings: Settings, probe: Any, code: str) -> None:
    needs = {"good": health.Dependency(succeed), "bad": health.Dependency(probe)}
    role = web.Role(name="demo", summary="", description="", dependencies=needs)
    async with client_of(web.create_app(role, settings, RoleSettings())) as client:
        watch = Stopwatch()
        answer = await client.get("/readyz")
    assert watch.seconds() < 2
    states = problem_of(answer, 503, "not-ready")["dependencies"]
    assert states["good"]["state"] == "up"
    assert (states["bad"]["state"], states["bad"]["code"]) == ("down", code)
    assert PASSWORD not in answer.text


async def test_an_optional_dependency_that_is_away_leaves_the_role_ready(settings: Settings) -> None:
    needs = {"bus": health.Dependency(fail, required=False)}
    role = web.Role(name="demo", summary="", description="", dependencies=needs)
    async with client_of(web.create_app(role, settings, RoleSettings())) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["dependencies"]["bus"]["state"] == "down"


async def test_a_life_enters_in_order_works_and_leaves_in_reverse(settings: Settings) -> None:
    seen: list[str] = []
    working = asyncio.Event()

    def resource(name: str) -> Any:
        @asynccontextmanager
        async def held(_app: FastAPI) -> AsyncIterator[None]:
            seen.append(f"enter {name}")
            yield
            seen.append(f"leave {name}")

        return held

    async def work(stop: asyncio.Event) -> None:
        seen.append("work")
        working.set()
        await stop.wait()
        seen.append("rest")

    role = web.Role(name="demo", summary="", description="", resources=[resource("a"), resource("b")], work=work)
    app = web.create_app(role, settings, RoleSettings())
    async with asyncio.timeout(60), app.router.lifespan_context(app):
        await working.wait()
        async with client_of(app) as client:
            assert (await client.get("/readyz")).json()["dependencies"]["worker"]["state"] == "up"
    assert seen == ["enter a", "enter b", "work", "rest", "leave b", "leave a"]


async def test_a_worker_that_failed_shows_and_is_started_again(settings: Settings) -> None:
    failing, again = asyncio.Event(), asyncio.Event()

    async def work(stop: asyncio.Event) -> None:
        if not failing.is_set():
            failing.set()
            raise RuntimeError("first try")
        again.set()
        await stop.wait()

    role = web.Role(name="demo", summary="", description="", work=work)
    app = web.create_app(role, settings, RoleSettings())
    async with asyncio.timeout(60), app.router.lifespan_context(app), client_of(app) as client:
        await failing.wait()
        body = problem_of(await client.get("/readyz"), 503, "not-ready")
        assert body["dependencies"]["worker"]["code"] == "worker-down"
        await again.wait()
        assert (await client.get("/readyz")).status_code == 200


async def test_a_role_without_its_worker_is_an_api_only(settings: Settings) -> None:
    async def work(_stop: asyncio.Event) -> None:
        raise AssertionError("the worker was started")

    role = web.Role(name="demo", summary="", description="", work=work)
    app = web.create_app(role, settings, RoleSettings(worker=False))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/readyz")).json()["dependencies"] == {}


async def test_mounted_roles_live_by_their_own_lifespans(settings: Settings) -> None:
    async def work(stop: asyncio.Event) -> None:
        await stop.wait()

    role = web.Role(name="demo", summary="", description="", routers=[router], work=work)
    outer = FastAPI()
    async with AsyncExitStack() as stack:
        for name in ("one", "two"):
            app = web.create_app(role, settings, RoleSettings())
            await stack.enter_async_context(app.router.lifespan_context(app))
            outer.mount(f"/{name}", app)
        async with client_of(outer, mint_token(settings, ["*"], subject="ann")) as client:
            page = await client.get("/two/names?limit=5")
            following = await client.get(str(page.url.join(page.links["next"]["url"])))
            assert following.json()["items"] == NAMES[5:]
            problem_of(await client.get("/one/nope"), 404, "not-found")
            assert (await client.get("/one/docs/start.js")).status_code == 200
