"""cfg over HTTP: scopes, pages, problems with pointers, one revision per changeset."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.cfg.main import create_app
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.web_client import client_of

BILLING = {"kind": "system", "name": "billing", "type": "postgres", "dsn": "env://BILLING_DSN"}
CRM = {"kind": "system", "name": "crm", "type": "postgres", "dsn": "env://CRM_DSN"}
PIPELINE: dict[str, Any] = {
    "kind": "pipeline",
    "name": "subscriptions",
    "source": "billing",
    "target": "crm",
    "datasets": [{"source": "public.subscription"}],
}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    token = mint_token(settings, ["config:read", "config:write"], subject="ada")
    async with client_of(create_app(settings), token) as client:
        yield client


async def apply(client: httpx2.AsyncClient, *documents: Any, **parts: Any) -> httpx2.Response:
    return await client.put("/changesets", json={"documents": list(documents), **parts})


async def test_a_changeset_is_stored_once_and_read_back(client: httpx2.AsyncClient) -> None:
    answer = (await apply(client, BILLING, CRM, PIPELINE, message="first")).json()
    assert [each["action"] for each in answer["differences"]] == ["add"] * 3
    again = (await apply(client, BILLING, CRM, PIPELINE)).json()
    assert again == {"revision": answer["revision"], "differences": []}
    one = (await client.get("/documents/pipeline/subscriptions")).json()
    assert one["document"]["batch"] == {"changes": 20000}
    assert (await apply(client, one["document"])).json()["differences"] == []
    revision = (await client.get(f"/revisions/{answer['revision']}")).json()
    assert (revision["author"], revision["message"]) == ("ada", "first")
    assert [each["name"] for each in revision["differences"]] == ["billing", "crm", "subscriptions"]


async def test_lists_come_in_pages(client: httpx2.AsyncClient) -> None:
    for number in range(5):
        await apply(client, {**BILLING, "name": f"system-{number}"})
    for path, name in (("/documents?limit=2", "name"), ("/revisions?limit=2", "id")):
        found, address = [], path
        while address:
            page = (await client.get(address)).json()
            found += [each[name] for each in page["items"]]
            address = f"{path}&cursor={page['next']}" if page["next"] else ""
        assert len(found) == len(set(found)) == 5
        assert found == sorted(found, reverse=name == "id")
    assert (await client.get("/documents?kind=pipeline")).json()["items"] == []
    assert (await client.get("/documents?kind=pipelines")).status_code == 422


async def test_a_plan_stores_nothing(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/plan", json={"documents": [BILLING]})
    assert [each["name"] for each in answer.json()["differences"]] == ["billing"]
    assert (await client.get("/documents")).json()["items"] == []


async def test_a_fault_is_told_by_its_pointer_into_the_body(client: httpx2.AsyncClient) -> None:
    answer = await apply(client, BILLING, {**CRM, "password": "hunter2"}, {**PIPELINE, "capture": "magic"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/documents/1/password", "/documents/2/capture"]
    assert answer.json()["remedy"]
    assert "hunter2" not in answer.text


async def test_each_kind_has_a_schema_and_tells_its_faults_by_pointers(client: httpx2.AsyncClient) -> None:
    hook: dict[str, Any] = {"kind": "endpoint", "name": "shop", "scheme": {"type": "github", "secrets": ["env://HOOK"]}}
    post: dict[str, Any] = {"kind": "entity", "name": "posts", "key": ["id"], "fields": {"id": {"type": "bigint"}}}
    kinds: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
        (BILLING, {"dsn": 5}, "/dsn", "dsn"),
        (PIPELINE, {"datasets": [{"source": "public.a", "fields": {"a": {"magic": 1}}}]}, "/datasets/0/", "datasets"),
        (hook, {"scheme": {"type": "github", "secrets": [5]}}, "/scheme/secrets/0", "scheme"),
        (post, {"fields": {"id": {"type": "magic"}}}, "/fields/id/type", "fields"),
    ]
    for good, bad, pointer, field in kinds:
        schema = (await client.get(f"/schema/{good['kind']}")).json()
        models = [each for each in schema.get("$defs", {}).values() if "kind" in each.get("properties", {})]
        models += [schema] if "properties" in schema else []
        assert all(each["properties"]["kind"]["const"] == good["kind"] for each in models)
        assert any(field in each["properties"] for each in models)
        answer = await apply(client, {**good, **bad})
        assert answer.status_code == 422
        [told] = [each["pointer"] for each in answer.json()["errors"]]
        assert told.startswith(f"/documents/0{pointer}"), told
    astray = {"field": "post_id", "entity": "absent"}
    answer = await apply(client, hook, {**PIPELINE, "source": "absent"}, {**post, "children": {"notes": astray}})
    told = [each["pointer"] for each in answer.json()["errors"]]
    assert {"/documents/1/source", "/documents/2/children/notes/entity"} <= set(told)
    assert (await client.get("/schema/magic")).status_code == 404


async def test_a_stale_base_is_a_conflict(client: httpx2.AsyncClient) -> None:
    await apply(client, BILLING)
    answer = await apply(client, CRM, base=0)
    assert (answer.status_code, answer.json()["code"]) == (409, "revision-moved")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"documents": {}}, 422),
        ({"documents": [], "extra": 1}, 422),
        ({"documents": [None, 5, "x", []]}, 422),
        ({"documents": [], "base": -1}, 422),
        ({"documents": [], "base": 10**30}, 409),
        ({"documents": [], "message": "x" * 501}, 422),
        ({"documents": [], "message": "\u0000"}, 422),
        ({"documents": [{**BILLING, "name": "\ud800"}]}, 422),
        ({"documents": [{**PIPELINE, "datasets": [{"source": "a.b", "fields": {"\ud800": "x"}}]}]}, 422),
        ({"documents": []}, 200),
    ],
)
async def test_no_body_is_answered_by_a_crash(client: httpx2.AsyncClient, body: Any, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.put("/changesets", content=json.dumps(body), headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "path", ["/documents/system/absent", "/documents/planet/mars", "/revisions/7", "/revisions/9223372036854775807"]
)
async def test_what_is_not_there_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/documents/system/%00", "/revisions/0", "/revisions/9223372036854775808"])
async def test_paths_that_cannot_be_are_malformed(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 422


async def test_reading_does_not_allow_writing(client: httpx2.AsyncClient, settings: Settings) -> None:
    token = mint_token(settings, ["config:read"], subject="eve")
    client.headers["Authorization"] = f"Bearer {token}"
    assert (await client.get("/documents")).status_code == 200
    assert (await client.get("/schema")).status_code == 200
    assert (await apply(client, BILLING)).status_code == 403
    del client.headers["Authorization"]
    assert (await client.get("/documents")).status_code == 401


async def test_parts_of_a_changeset_have_exactly_their_type(client: httpx2.AsyncClient) -> None:
    for part in ({"prune": 0}, {"prune": "false"}, {"base": "0"}, {"base": False}):
        answer = await apply(client, BILLING, **part)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{next(iter(part))}")


@pytest.mark.parametrize("message", ["motif\u00a0: voilà", "変更\u3000です", "👩\u200d💻 did it", "two\nlines"])
async def test_a_message_is_what_people_write(client: httpx2.AsyncClient, message: str) -> None:
    assert (await apply(client, CRM, message=message)).json()["revision"] == 1
    assert (await client.get("/revisions/1")).json()["message"] == message
    for refused in ("a\tb", "bell\x07", "\u202eright to left", "\x1b[31m"):
        assert (await apply(client, BILLING, message=refused)).json()["code"] == "malformed"
