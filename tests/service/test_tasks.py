"""The `/tasks` API: who may see and touch runs, pages, following one live, cancelling and retrying."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from nms.common import tasks, web
from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.db.repositories import get_db_repository
from nms.common.run import Claimed, Run, RunRepository, enqueue
from nms.common.settings import RoleSettings, Settings
from nms.common.tasks import tasks_router
from nms.common.token import mint_token
from tests.services.process import free_port
from tests.waiting import PATIENCE, eventually

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def runs(settings: Settings) -> RunRepository:
    return await RunRepository.open()


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    role = web.Role(name="trial", summary="", description="", routers=[tasks_router(get_db_repository(RunRepository))])
    return web.create_app(role, settings, RoleSettings())


def client_of(app: FastAPI, settings: Settings, *scopes: str) -> httpx2.AsyncClient:
    headers = (
        {"Authorization": f"Bearer {mint_token(settings, scopes=list(scopes), subject='tester')}"} if scopes else {}
    )
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://nms", headers=headers)


@pytest.fixture
async def reader(app: FastAPI, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app, settings, "tasks:read") as client:
        yield client


@pytest.fixture
async def writer(app: FastAPI, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app, settings, "tasks:read", "tasks:write") as client:
        yield client


async def test_reading_and_acting_ask_for_their_scopes(
    app: FastAPI, settings: Settings, reader: httpx2.AsyncClient, runs: RunRepository
) -> None:
    run = await enqueue(runs, "k", "s")
    async with client_of(app, settings) as stranger:
        for method, path in (
            ("GET", "/tasks"),
            ("GET", f"/tasks/{run.id}"),
            ("GET", f"/tasks/{run.id}/progress"),
            ("POST", f"/tasks/{run.id}/cancel"),
            ("POST", "/tasks/cancel"),
            ("POST", f"/tasks/{run.id}/retry"),
        ):
            assert (await stranger.request(method, path)).status_code == 401
            if method == "POST":
                assert (await reader.request(method, path)).status_code == 403


async def test_the_list_is_paged_newest_first_and_never_cut_silently(
    reader: httpx2.AsyncClient, runs: RunRepository
) -> None:
    ids = [(await enqueue(runs, "k", f"s{number}")).id for number in range(7)]
    seen, cursor = [], None
    while True:
        page = (await reader.get("/tasks", params={"limit": 3, **({"cursor": cursor} if cursor else {})})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    one = (await reader.get("/tasks", params={"subject": "s4", "state": "queued"})).json()
    assert [item["id"] for item in one["items"]] == [ids[4]]
    assert (await reader.get("/tasks", params={"state": "nonsense"})).status_code == 422


async def test_one_run_is_shown_without_its_payload(reader: httpx2.AsyncClient, runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s", payload={"secret": "hunter2"})
    answer = await reader.get(f"/tasks/{run.id}")
    assert answer.json()["state"] == "queued"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/tasks/999999", "/tasks/999999/progress"])
async def test_an_unknown_run_is_a_problem(reader: httpx2.AsyncClient, path: str) -> None:
    answer = await reader.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_run_is_cancelled_by_the_id_in_a_body(writer: httpx2.AsyncClient, runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    answer = await writer.post("/tasks/cancel", json={"id": run.id})
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert (await writer.post("/tasks/cancel", json={"id": run.id})).json()["code"] == "run-ended"
    assert (await writer.post("/tasks/cancel", json={"id": 999_999})).status_code == 404
    assert (await writer.post("/tasks/cancel", json={"id": "7"})).status_code == 422


async def test_cancel_and_retry(writer: httpx2.AsyncClient, runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    answer = await writer.post(f"/tasks/{run.id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    again = await writer.post(f"/tasks/{run.id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "run-ended")
    answer = await writer.post(f"/tasks/{run.id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    await runs.claim(["k"], "w", [], 1, 15.0)
    refused = await writer.post(f"/tasks/{run.id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "run-not-retryable")
    assert (await writer.post(f"/tasks/{run.id}/cancel")).json()["state"] == "cancelling"


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await asyncio.wait_for(task, PATIENCE)


ACCEPT = {"/progress": "*/*", "": "text/event-stream"}
"""What is accepted on each of the two ways on which a run is followed."""
WAYS = pytest.mark.parametrize("way", ACCEPT)


@WAYS
async def test_a_run_is_followed_live_to_its_end(
    served: str, settings: Settings, runs: RunRepository, way: str
) -> None:
    run = await enqueue(runs, "k", "s")
    token = mint_token(settings, scopes=["tasks:read"], subject="tester")
    async with (
        httpx2.AsyncClient(base_url=served, headers={"Authorization": f"Bearer {token}"}, timeout=10) as client,
        client.stream("GET", f"/tasks/{run.id}{way}", headers={"Accept": ACCEPT[way]}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = read_events(answer)
        name, task = await anext(events)
        assert (name, task["state"]) == ("progress", "queued")
        work = Claimed(runs, (await runs.claim(["k"], "w", [], 1, 15.0))[0])
        await work.report({"current": 5, "total": 10, "unit": "rows"}, {"at": 5})
        while task["progress"] is None:
            name, task = await anext(events)
        assert (task["state"], task["progress"]["current"]) == ("running", 5)
        await work.succeed()
        while name != "ended":
            name, task = await anext(events)
        assert task["state"] == "succeeded"
        assert [event async for event in events] == []


async def read_events(answer: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def following(served: str, settings: Settings, run: Run, way: str) -> AsyncIterator[Connection]:
    """A connection on which a run is followed, and the first event of it was told."""
    token = mint_token(settings, scopes=["tasks:read"], subject="tester")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.rpartition(":")[2]))
    head = f"Host: nms\r\nAuthorization: Bearer {token}\r\nAccept: {ACCEPT[way]}\r\n"
    writer.write(f"GET /tasks/{run.id}{way} HTTP/1.1\r\n{head}\r\n".encode())
    try:
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"event: progress")
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def alive() -> set[asyncio.Task[Any]]:
    """What this process does, without what only waits for others: the role has clocks of its own."""
    return {task for task in asyncio.all_tasks() if not str(task.get_coro()).startswith("<coroutine object Event.wait")}


@WAYS
async def test_a_reader_who_goes_in_the_middle_leaves_nothing_behind(
    served: str, settings: Settings, runs: RunRepository, way: str
) -> None:
    run = await enqueue(runs, "k", "s")
    pool = await get_pool(DSNType.NMS)
    before = alive()

    async def left() -> bool:
        return alive() <= before and pool.get_idle_size() == pool.get_size()

    async with AsyncExitStack() as readers:
        for _ in range(3):
            await readers.enter_async_context(following(served, settings, run, way))
        assert not await left()
    await eventually(left)
    # One who only stops to send has gone too; the run is being looked for meanwhile.
    async with runs.transaction() as tx, following(served, settings, run, way) as (_, writer):
        await tx.connection.execute("lock table common.run in access exclusive mode")

        async def waiting() -> bool:
            return bool(await tx.connection.fetchval("select exists (select from pg_locks where not granted)"))

        async def gone() -> bool:
            return not await waiting() and alive() <= before

        await eventually(waiting)
        writer.write_eof()
        await eventually(gone)
    await eventually(left)


async def test_a_reader_hears_something_while_a_run_stands(
    served: str, settings: Settings, runs: RunRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PING_SECONDS", 0.1)
    run = await enqueue(runs, "k", "s")
    for way in ACCEPT:
        async with asyncio.timeout(PATIENCE), following(served, settings, run, way) as (reader, _):
            assert b"event:" not in await reader.readuntil(b": ping")
