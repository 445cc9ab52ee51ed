"""Revisions compared and gone back to; a write that names the revision it was made for by `If-Match`."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from nms.cfg.main import create_app
from nms.cfg.repository import Bodies, DocumentRepository
from nms.cli.main import app as cli
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.test_cfg_api import BILLING, CRM, PIPELINE, apply
from tests.service.web_client import client_of


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    token = mint_token(settings, ["config:read", "config:write"], subject="ada")
    async with client_of(create_app(settings), token) as client:
        yield client


async def revision_of(client: httpx2.AsyncClient, *documents: Any, **parts: Any) -> int:
    return int((await apply(client, *documents, **parts)).json()["revision"])


async def test_a_write_with_a_tag_of_before_changes_nothing(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/documents")).headers["etag"] == '"0"'
    first = await apply(client, BILLING)
    read = await client.get("/documents/system/billing")
    assert read.headers["etag"] == first.headers["etag"] == f'"{first.json()["revision"]}"'
    conditions = (
        (read.headers["etag"], 200),
        (read.headers["etag"], 412),
        ("*", 200),
        ('"nothing", "0"', 412),
        (f"W/{read.headers['etag']}", 412),
        ("", 412),
        ("0", 412),
    )
    answers = [await write(client, number, condition) for number, (condition, _) in enumerate(conditions)]
    assert [answer.status_code for answer in answers] == [status for _, status in conditions]
    assert answers[-1].json()["code"] == "revision-unmatched"
    assert f"`{answers[-1].json()['etag']}`, quotes and all" in answers[-1].json()["detail"]
    again = await write(client, 9, answers[-1].json()["etag"])
    assert (again.status_code, again.headers["etag"]) == (200, f'"{again.json()["revision"]}"')


async def write(client: httpx2.AsyncClient, number: int, condition: str) -> httpx2.Response:
    body = {"documents": [{**CRM, "dsn": f"env://CRM_{number}"}]}
    return await client.put("/changesets", json=body, headers={"If-Match": condition})


async def test_of_many_writers_with_one_tag_one_wins(client: httpx2.AsyncClient) -> None:
    bodies = [{"documents": [{**BILLING, "name": f"system-{number}"}]} for number in range(8)]
    answers = await asyncio.gather(
        *(client.put("/changesets", json=body, headers={"If-Match": '"0"'}) for body in bodies)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_any_two_revisions_are_compared_either_way(client: httpx2.AsyncClient) -> None:
    first = await revision_of(client, BILLING, CRM)
    second = await revision_of(client, {**CRM, "dsn": "env://OTHER"}, PIPELINE)
    await apply(client, {**CRM, "name": "passing"})
    last = await revision_of(client, BILLING, CRM, prune=True)

    async def between(path: str) -> dict[str, str]:
        answer = (await client.get(path)).json()
        return {each["name"]: each["action"] for each in answer["differences"]}

    assert await between(f"/revisions/{first}/diff?to={second}") == {"crm": "change", "subscriptions": "add"}
    assert await between(f"/revisions/{second}/diff?to={first}") == {"crm": "change", "subscriptions": "remove"}
    assert await between(f"/revisions/{second}/diff") == {"crm": "change", "subscriptions": "remove"}
    assert await between(f"/revisions/{first}/diff?to={last}") == {}
    assert await between(f"/revisions/0/diff?to={first}") == {"billing": "add", "crm": "add"}
    found = (await client.get(f"/revisions/{second}/diff?to={first}")).json()
    (crm,) = [each for each in found["differences"] if each["name"] == "crm"]
    assert crm["fields"] == [{"path": "dsn", "before": "env://OTHER", "after": "env://CRM_DSN"}]
    assert (await client.get(f"/revisions/{first}/diff?to=99")).status_code == 404


async def test_a_rollback_is_a_new_revision_equal_to_the_old_one(client: httpx2.AsyncClient) -> None:
    first = await revision_of(client, BILLING, CRM, PIPELINE)
    second = await revision_of(client, BILLING, {**CRM, "dsn": "env://OTHER"}, {**CRM, "name": "more"}, prune=True)
    planned = (await client.post("/rollback/plan", json={"revision": first})).json()
    assert {each["name"]: each["action"] for each in planned["differences"]} == {
        "crm": "change",
        "more": "remove",
        "subscriptions": "add",
    }
    done = await client.post("/rollback", json={"revision": first, "base": second, "message": "it was better"})
    assert done.json()["differences"] == planned["differences"]
    new = done.json()["revision"]
    assert new > second
    assert (await client.get(f"/revisions/{first}/diff?to={new}")).json()["differences"] == []
    told = (await client.get(f"/revisions/{new}")).json()
    assert (told["author"], told["message"]) == ("ada", "it was better")
    again = await client.post("/rollback", json={"revision": first})
    assert again.json() == {"revision": new, "differences": []}


async def test_a_rollback_holds_to_its_base(client: httpx2.AsyncClient) -> None:
    first = await revision_of(client, BILLING)
    second = await revision_of(client, CRM)
    moved = await client.post("/rollback", json={"revision": first, "base": first})
    assert (moved.status_code, moved.json()["code"]) == (409, "revision-moved")
    unmatched = await client.post("/rollback", json={"revision": first}, headers={"If-Match": f'"{first}"'})
    assert (unmatched.status_code, unmatched.json()["revision"]) == (412, second)
    assert (await client.post("/rollback", json={"revision": 99})).status_code == 404
    assert (await client.post("/rollback", json={"revision": first, "message": "\0"})).status_code == 422
    assert (await client.get("/documents")).headers["etag"] == f'"{second}"'


async def test_what_would_not_be_taken_today_does_not_come_back(client: httpx2.AsyncClient, settings: Settings) -> None:
    repository = await DocumentRepository.open()
    await apply(client, BILLING, CRM)
    later = {"kind": "system", "name": "crm", "type": "teleport"}
    foreign: Bodies = {("system", "crm"): later, ("system", "gone"): {**BILLING, "name": "gone", "beam": True}}
    (old, *_), _ = await repository.insert_revision("earlier", "", foreign)
    await apply(client, BILLING, CRM, prune=True)
    refused = await client.post("/rollback", json={"revision": old})
    assert (refused.status_code, refused.json()["code"]) == (409, "revision-unfit")
    assert [each["pointer"] for each in refused.json()["errors"]] == ["/revision"] * 2
    assert "system `gone`: unknown key `beam`" in refused.text
    assert "(at /type)" in refused.text
    assert (await client.get("/documents/system/gone")).status_code == 404


async def test_what_cannot_be_read_and_stays_keeps_nothing_from_going_back(
    client: httpx2.AsyncClient, settings: Settings
) -> None:
    repository = await DocumentRepository.open()
    foreign: Bodies = {("system", "new"): {"kind": "system", "name": "new", "type": "teleport"}}
    (later, *_), _ = await repository.insert_revision("later", "", foreign)
    await apply(client, BILLING)
    assert (await client.post("/rollback", json={"revision": later})).status_code == 200
    assert [each.name for each in await repository.list_documents()] == ["new"]


async def test_the_command_line_goes_back(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    first = await revision_of(client, BILLING, message="how it was")
    await revision_of(client, {**BILLING, "dsn": "env://OTHER"}, CRM)

    async def nms(*words: str) -> Any:
        answer = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--json"])
        return json.loads(answer.stdout) if answer.exit_code == 0 else answer.stderr

    assert [each["message"] for each in await nms("revisions")] == ["", "how it was"]
    assert [each["name"] for each in (await nms("diff", str(first)))["differences"]] == ["billing", "crm"]
    planned = await nms("rollback", str(first), "--plan")
    assert [each["action"] for each in planned["differences"]] == ["change", "remove"]
    done = await nms("rollback", str(first))
    assert done["differences"] == planned["differences"]
    assert (await nms("revisions"))[0]["message"] == f"rollback to revision {first}"
    assert (await nms("diff", str(first), str(done["revision"])))["differences"] == []
    assert "not-found" in await nms("rollback", "99")


async def test_a_rollback_is_noted_with_why(client: httpx2.AsyncClient) -> None:
    first = await revision_of(client, BILLING)
    await apply(client, CRM)
    new = (await client.post("/rollback", json={"revision": first, "message": "too early"})).json()["revision"]
    await client.post("/rollback", json={"revision": first, "base": first})
    repository = await DocumentRepository.open()
    rows = await repository.connection.fetch(
        "select outcome, subject, revision, reason, facts from cfg.audit where action = 'revision.rollback' order by id"
    )
    assert [(row["outcome"], row["subject"], row["revision"], row["reason"]) for row in rows] == [
        ("done", str(first), new, "too early"),
        ("refused", "", None, ""),
    ]
    assert rows[0]["facts"]["documents"] == {"remove": ["system/crm"]}
