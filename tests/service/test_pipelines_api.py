"""Pipelines, their quarantine and their runs over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.sync.main import create_app
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline
from tests.waiting import eventually

SCOPES = ["pipelines:read", "pipelines:write", "quarantine:read", "quarantine:write", "tasks:read", "tasks:write"]
IDS = "select id from public.item order by id"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_with(settings, SCOPES) as client:
        yield client


def client_with(settings: Settings, scopes: list[str]) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=create_app(settings))
    token = mint_token(settings, scopes, subject="ada")
    return httpx2.AsyncClient(transport=transport, base_url="http://sync", headers={"Authorization": f"Bearer {token}"})


async def test_pipelines_are_listed_in_pages_and_read(stage: Stage, client: httpx2.AsyncClient) -> None:
    names = ["ant", "bee", "cat"]
    shared = [{**pipeline(name), "shared": True} for name in names]
    await stage.apply(*stage.systems(), *shared)
    found, path = [], "/pipelines?limit=2"
    while path:
        page = (await client.get(path)).json()
        found += [each["name"] for each in page["items"]]
        path = f"/pipelines?limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == names
    one = (await client.get("/pipelines/bee")).json()
    assert (one["name"], one["wanted"], one["phase"], one["generation"]) == ("bee", "running", "waiting", 1)


async def test_pause_resume_and_resync_are_done_and_name_their_run(stage: Stage, client: httpx2.AsyncClient) -> None:
    await stage.at("source", "insert into public.item values (1, 'one')")
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
        assert (await client.post("/pipelines/items/pause")).json()["wanted"] == "paused"
        assert (await client.post("/pipelines/items/pause")).json()["wanted"] == "paused"
        resumed = await client.post("/pipelines/items/resume")
        assert (resumed.status_code, resumed.json()["wanted"]) == (202, "running")
        run = (await client.get(resumed.headers["Location"])).json()
        assert (run["kind"], run["subject"]) == ("pipeline", "items")
        await stage.reach("streaming")
        await stage.at("target", "insert into public.item values (9, 'stray')")
        resynced = await client.post("/pipelines/items/resync?generation=1")
        assert (resynced.status_code, resynced.json()["generation"]) == (202, 2)
        assert (await client.get(resynced.headers["Location"])).status_code == 200
        twice = await client.post("/pipelines/items/resync?generation=1")
        assert (twice.status_code, twice.json()["code"]) == (409, "pipeline-moved")
        await stage.arrive(IDS, [1])
        assert (await stage.reach("streaming")).generation == 2
        states = {task["state"] for task in (await client.get("/tasks?kind=pipeline")).json()["items"]}
        assert states <= {"running", "cancelled", "cancelling", "queued"}


async def test_held_changes_are_listed_replayed_and_dropped(stage: Stage, client: httpx2.AsyncClient) -> None:
    await stage.at("target", "alter table public.item add constraint short check (length(name) < 9)")
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
        await stage.at("source", "insert into public.item values (4, 'far too long'), (5, 'far too long'), (6, 'fine')")
        await stage.arrive(IDS, [6])

        async def held() -> list[Any] | None:
            items: list[Any] = (await client.get("/pipelines/items/quarantine?state=held")).json()["items"]
            return items if len(items) == 2 else None

        rows = await eventually(held)
        assert {row["key"] for row in rows} == {"4", "5"}
        assert rows[0]["problem"]["code"] == "target-refused"
        first = (await client.get("/pipelines/items/quarantine?limit=1")).json()
        second = (await client.get(f"/pipelines/items/quarantine?limit=1&cursor={first['next']}")).json()
        assert first["items"][0]["id"] > second["items"][0]["id"]
        await stage.at("target", "alter table public.item drop constraint short")
        body = {"dataset": "public.item", "key": "4"}
        replayed = await client.post("/pipelines/items/quarantine/replay", json=body)
        assert (replayed.status_code, replayed.json()) == (202, {"count": 1, "state": "replaying"})
        await stage.arrive(IDS, [4, 6])
        dropped = await client.post("/pipelines/items/quarantine/drop", json={"all": True})
        assert dropped.json() == {"count": 1, "state": "dropping"}
        again = await client.post("/pipelines/items/quarantine/replay", json={"key": "5"})
        assert again.status_code == 404
        assert "nms quarantine list" in again.json()["remedy"]


@pytest.mark.parametrize("body", [{}, {"all": True, "key": "4"}, {"key": 4}, {"every": True}, []])
async def test_a_selection_that_is_none_is_malformed(stage: Stage, client: httpx2.AsyncClient, body: Any) -> None:
    await stage.begin()
    answer = await client.post("/pipelines/items/quarantine/drop", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/pipelines/absent", 404),
        ("POST", "/pipelines/absent/pause", 404),
        ("POST", "/pipelines/absent/resume", 404),
        ("POST", "/pipelines/absent/resync", 404),
        ("GET", "/pipelines/absent/quarantine", 404),
        ("GET", "/pipelines/Bad%20Name", 422),
        ("POST", "/pipelines/absent/resync?generation=0", 422),
        ("GET", "/pipelines?cursor=nonsense", 422),
        ("GET", "/pipelines/absent/quarantine?state=lost", 422),
        ("GET", "/tasks/1", 404),
    ],
)
async def test_what_cannot_be_is_a_problem(client: httpx2.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["remedy"]


async def test_every_act_asks_for_its_scope(settings: Settings) -> None:
    acts = {
        "pipelines:read": [("GET", "/pipelines"), ("GET", "/pipelines/x")],
        "pipelines:write": [("POST", f"/pipelines/x/{act}") for act in ("pause", "resume", "resync")],
        "quarantine:read": [("GET", "/pipelines/x/quarantine")],
        "quarantine:write": [("POST", f"/pipelines/x/quarantine/{act}") for act in ("replay", "drop")],
        "tasks:read": [("GET", "/tasks"), ("GET", "/tasks/1")],
        "tasks:write": [("POST", "/tasks/1/cancel"), ("POST", "/tasks/1/retry")],
    }
    for scope, routes in acts.items():
        async with client_with(settings, [other for other in SCOPES if other != scope]) as client:
            for method, path in routes:
                answer = await client.request(method, path, json={"all": True})
                assert (answer.status_code, answer.json()["scope"]) == (403, scope)


def test_the_documentation_shows_examples_and_what_each_route_does(settings: Settings) -> None:
    described = create_app(settings).openapi()
    for path, methods in described["paths"].items():
        if path.startswith("/pipelines"):
            for operation in methods.values():
                assert operation["summary"]
                assert operation["description"]
    replay = described["paths"]["/pipelines/{name}/quarantine/replay"]["post"]
    assert replay["requestBody"]["content"]["application/json"]["examples"]
