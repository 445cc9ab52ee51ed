"""What a caller may not see is not there: on every path, by every method, and in the feed."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.document import short_form
from nms.common.router import list_scopes
from nms.common.run import DwhRunRepository, enqueue
from nms.common.settings import Settings
from nms.warehouse import document as following
from nms.warehouse.main import create_app
from tests.service.test_entity_evolution import make, serves, want
from tests.service.warehouse import connected, entity, make_entities, ready_entities, serving
from tests.service.web_client import problem_of

SECRET = "of-nobody-else"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
OTHERS = [
    ("entities:read:posts", "entities:write:posts"),
    ("entities:read:comments", "entities:write:posts", "tasks:read", "tasks:write"),
]
"""Scopes of callers who may not see customers."""


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """One who may do everything, where a customer is."""
    await make_entities()
    async with serving(settings) as client:
        answer = await client.put("/customers/7", json={"name": SECRET, "email": f"{SECRET}@example.org"})
        assert answer.status_code == 201
        yield client


def paths_of(entity: str) -> Iterator[str]:
    """Every path of an entity, with and without what only a known one takes."""
    for more in ("", "/", "/7", "/7/", "/x", "/1,2", "/7/subscriptions", "/7/nothing", "/export", "?nothing=1",
                 "?count=exact", "/7?lineage=1", "?cursor=x"):  # fmt: skip
        yield f"/{entity}{more}"


async def ask(client: httpx2.AsyncClient, method: str, path: str, body: str = "{}") -> tuple[int, Any, set[str]]:
    """An answer without what differs from request to request."""
    headers = {"Content-Type": "application/json", "If-None-Match": '"1"'}
    answer = await client.request(method, path, content=body.encode(), headers=headers)
    assert SECRET not in answer.text
    assert SECRET not in str(answer.headers)
    told = {**answer.json(), "request_id": ""} if answer.content else None
    return answer.status_code, told, set(answer.headers) - {"content-length"}


@pytest.mark.parametrize("scopes", OTHERS)
async def test_no_answer_tells_a_hidden_entity_from_none(
    owner: httpx2.AsyncClient, settings: Settings, scopes: tuple[str, ...]
) -> None:
    before = (await owner.get("/customers/7?lineage=1")).text
    async with serving(settings, *scopes) as other:
        for method in METHODS:
            for hidden, nowhere in zip(paths_of("customers"), paths_of("nowhere"), strict=True):
                for body in ("{}", "{", '{"name":"x"}'):
                    answer = await ask(other, method, hidden, body)
                    assert answer == await ask(other, method, nowhere, body), f"{method} {hidden}"
                    assert answer[0] in (404, 405), f"{method} {hidden}"
        assert (await other.get("/data")).json()["items"] == []
    assert (await owner.get("/customers/7?lineage=1")).text == before


async def test_a_reader_does_not_write_and_a_writer_does_not_read(
    owner: httpx2.AsyncClient, settings: Settings
) -> None:
    async with serving(settings, "entities:read:customers") as reader:
        for method, path in (("POST", "/customers"), ("PUT", "/customers/7"), ("PATCH", "/customers/7"),
                             ("DELETE", "/customers/7")):  # fmt: skip
            problem = problem_of(await reader.request(method, path, json={}), 403, "scope-missing")
            assert problem["scope"] == "entities:write:customers"
        assert (await reader.get("/customers/7")).json()["name"] == SECRET
    async with serving(settings, "entities:write:customers") as writer:
        for path in ("/customers", "/customers/7"):
            problem_of(await writer.get(path), 404, "not-found")
        changed = await writer.patch("/customers/7", json={"country": "IT"})
        assert (changed.status_code, changed.content) == (204, b"")
        made = await writer.post("/customers", json={"name": "new"}, headers={"Idempotency-Key": "k"})
        assert (made.status_code, made.content, made.headers["location"]) == (201, b"", "/customers/1")
    async with serving(settings, "entities:read:customers", "entities:write:customers") as both:
        again = await both.post("/customers", json={"name": "new"}, headers={"Idempotency-Key": "k"})
        assert (again.status_code, again.content) == (201, b""), "the answer that it had, and no more"
        seen = await both.patch("/customers/7", json={"country": "FR"}, headers={"Idempotency-Key": "seen"})
        assert SECRET in seen.text
    async with serving(settings, "entities:write:customers") as writer:
        again = await writer.patch("/customers/7", json={"country": "FR"}, headers={"Idempotency-Key": "seen"})
        assert (again.status_code, again.content) == (204, b""), "who lost the scope of reading is shown no record"
        assert again.headers["idempotent-replayed"] == "true"
    assert (await owner.get("/customers/7")).json()["country"] == "FR"


async def test_a_child_is_hidden_where_either_entity_is(owner: httpx2.AsyncClient, settings: Settings) -> None:
    await owner.put("/posts/1", json={"title": "x"})
    await owner.put("/comments/1", json={"postId": 1, "body": SECRET})
    assert SECRET in (await owner.get("/posts/1/comments")).text
    for scope in ("entities:read:posts", "entities:read:comments"):
        async with serving(settings, scope) as other:
            problem_of(await other.get("/posts/1/comments"), 404, "not-found")


async def test_the_reference_names_an_entity_to_who_may_read_it(owner: httpx2.AsyncClient, settings: Settings) -> None:
    everybody = (await owner.get("/openapi.json", headers={"Authorization": ""})).text
    for one in ready_entities():
        assert f"/{one.name}" not in everybody
    forged = await owner.get("/openapi.json", headers={"Authorization": "Bearer forged"})
    assert (forged.status_code, forged.text) == (200, everybody)
    assert forged.headers["vary"] == "Authorization"
    async with serving(settings, "entities:read:posts", "tasks:read") as other:
        document = (await other.get("/openapi.json")).json()
    named = {path for path in document["paths"] if path.startswith("/posts")}
    assert named == {"/posts", "/posts/{key}"}, "its comments are another entity"
    assert document["paths"].keys() - named == json.loads(everybody)["paths"].keys()
    assert "posts" in document["components"]["schemas"]
    for hidden in {one.name for one in ready_entities()} - {"posts"}:
        assert not re.search(rf'[/"]{hidden}\b', json.dumps(document)), hidden
    assert "/posts/{key}/comments" in (await owner.get("/openapi.json")).json()["paths"]


RUNS = [("export", "customers"), ("entity", "customers"), ("export", "posts"), ("entity", "posts"), ("sync", "crm")]


@pytest.mark.parametrize(
    ("scopes", "seen"),
    [
        (("tasks:*", "entities:read"), RUNS),
        (("tasks:*", "entities:read:posts"), [run for run in RUNS if run[1] != "customers"]),
        (("tasks:*", "config:read"), [run for run in RUNS if run[0] != "export"]),
        (("tasks:*", "entities:write"), [("sync", "crm")]),
        (("entities:read:posts",), [("export", "posts")]),
        (("entities:read",), [run for run in RUNS if run[0] == "export"]),
    ],
)
async def test_a_run_of_a_hidden_entity_is_not_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, scopes: tuple[str, ...], seen: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("WAREHOUSE_WORKER", "false")
    runs = await DwhRunRepository.open()
    ids = {run: (await enqueue(runs, *run)).id for run in RUNS}
    async with serving(settings, *scopes) as caller:
        listed = [(one["kind"], one["subject"]) for one in (await caller.get("/tasks")).json()["items"]]
        assert sorted(listed) == sorted(seen)
        for kind, subject in RUNS:
            named = await caller.get("/tasks", params={"kind": kind, "subject": subject})
            assert len(named.json()["items"]) == ((kind, subject) in seen)
        for run, id_ in ids.items():
            for method, path, body in (
                ("GET", f"/tasks/{id_}", None), ("POST", f"/tasks/{id_}/cancel", None),
                ("GET", f"/tasks/{id_}/progress", None), ("POST", f"/tasks/{id_}/retry", None),
                ("POST", "/tasks/cancel", {"id": id_}),
            ):  # fmt: skip
                if run in seen and path.endswith("/progress"):
                    continue  # It has no end before that of the run.
                answer = await caller.request(method, path, json=body)
                if method == "POST" and "tasks:*" not in scopes:
                    problem_of(answer, 403, "scope-missing")
                elif run not in seen:
                    nothing = problem_of(answer, 404, "not-found")
                    assert nothing["detail"] == f"There is no run {id_}.", "as of a run that never was"
                else:
                    assert answer.status_code == (202 if method == "POST" else 200)


async def test_who_ordered_an_export_follows_it_without_the_right_to_see_runs(
    owner: httpx2.AsyncClient, settings: Settings
) -> None:
    async with serving(settings, "entities:read:posts") as caller:
        ordered = await caller.post("/posts/exports")
        task = await caller.get(ordered.headers["location"])
        assert (task.status_code, task.json()["id"]) == (200, ordered.json()["id"])
    async with serving(settings, "entities:read:comments") as other:
        problem_of(await other.get(ordered.headers["location"]), 404, "not-found")
    async with serving(settings, "entities:write") as other:
        problem_of(await other.get(ordered.headers["location"]), 403, "scope-missing")


async def test_every_route_of_an_entity_asks_for_its_scope(settings: Settings) -> None:
    scopes = {route: scope for route, scope in list_scopes(create_app(settings)).items() if "{entity" in route}
    assert len(scopes) >= 8
    for route, scope in scopes.items():
        assert re.fullmatch(r"entities:(read|write):\{entity\}", scope or ""), route
    assert {each.name for each in ready_entities()} >= {"customers", "posts", "comments"}


async def test_an_entity_that_is_taken_away_is_seen_by_nobody_until_it_is_declared_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    items, others = (entity(name, {"id": "bigint", "name": "text"}) for name in ("items", "others"))
    async with serving(settings, "entities:read", "entities:write") as client:
        await make(items, others)
        await serves(client, "/items", 200)
        await client.put("/items/1", json={"name": "a"})
        before = await client.get("/items/1")
        place = (await client.get("/data")).json()["next"]
        only_others = Changeset([Draft(short_form(others))], author="test", prune=True)
        await apply_changeset(await DocumentRepository.open(), only_others)
        await serves(client, "/items/1", 404)
        for answer in (await client.get("/items"), await client.put("/items/2", json={})):
            problem_of(answer, 404, "not-found")
        assert (await client.get("/data")).json()["items"] == []
        await want(items, others)
        assert (await serves(client, "/items/1", 200)).content == before.content
        assert (await client.get(f"/data?since={place}")).json()["items"] == [], "nothing of it has changed"
        assert (await client.put("/items/2", json={})).status_code == 201
        assert [one["key"] for one in (await client.get(f"/data?since={place}")).json()["items"]] == ["2"]


async def test_what_is_written_to_an_entity_that_is_taken_away_is_passed_by_only_by_who_reads_on_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    items, others = (entity(name, {"id": "bigint", "name": "text"}) for name in ("items", "others"))
    async with serving(settings, "entities:read", "entities:write") as client, connected(settings) as psql:
        await make(items, others)
        await serves(client, "/others", 200)
        place = (await client.get("/data")).json()["next"]
        only_others = Changeset([Draft(short_form(others))], author="test", prune=True)
        await apply_changeset(await DocumentRepository.open(), only_others)
        await serves(client, "/items", 404)
        await psql.execute("insert into entity.items (id, name) values (1, 'a')")
        await client.put("/others/1", json={"name": "b"})
        later = (await client.get(f"/data?since={place}")).json()
        assert [one["entity"] for one in later["items"]] == ["others"]
        await want(items, others)
        await serves(client, "/items/1", 200)
        told = (await client.get(f"/data?since={place}")).json()["items"]
        assert [one["entity"] for one in told] == ["items", "others"], "who stood still sees it in its place"
        assert (await client.get(f"/data?since={later['next']}")).json()["items"] == [], "a stated limit"
