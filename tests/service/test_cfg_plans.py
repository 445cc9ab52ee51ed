"""Plans that are kept: carried out as they were told, on the revision they were made for, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from typer.testing import CliRunner

from nms.cfg.main import create_app
from nms.cfg.plans import KEEP_DAYS
from nms.cfg.repository import DocumentRepository
from nms.cfg.secret import SecretRepository
from nms.cfg.secrets import set_secret
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


async def keep(client: httpx2.AsyncClient, *documents: Any, **parts: Any) -> Any:
    answer = await client.post("/plans", json={"documents": list(documents), **parts})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_kept_plan_is_carried_out_as_it_was_told_and_once(client: httpx2.AsyncClient) -> None:
    base = (await apply(client, BILLING, {**CRM, "name": "old"})).json()["revision"]
    kept = await keep(client, CRM, PIPELINE, {**BILLING, "dsn": "env://OTHER"}, prune=True, message="all new")
    assert (kept["revision"], kept["applied"], kept["author"]) == (base, None, "ada")
    assert {each["name"]: each["action"] for each in kept["differences"]} == {
        "billing": "change",
        "crm": "add",
        "old": "remove",
        "subscriptions": "add",
    }
    assert (await client.get(f"/plans/{kept['id']}")).json() == kept
    assert (await client.get("/documents")).headers["etag"] == f'"{base}"', "nothing of it is stored"
    done = (await client.post(f"/plans/{kept['id']}/apply")).json()
    assert done["differences"] == kept["differences"]
    told = (await client.get(f"/revisions/{done['revision']}")).json()
    assert (told["message"], told["author"]) == ("all new", "ada")
    again = await client.post(f"/plans/{kept['id']}/apply")
    assert (again.status_code, again.json()["code"], again.json()["revision"]) == (
        409,
        "plan-applied",
        done["revision"],
    )
    assert (await client.get(f"/plans/{kept['id']}")).json()["applied"]["revision"] == done["revision"]


async def test_a_plan_whose_base_has_moved_is_not_carried_out(client: httpx2.AsyncClient) -> None:
    kept = await keep(client, BILLING)
    moved = (await apply(client, CRM)).json()["revision"]
    refused = await client.post(f"/plans/{kept['id']}/apply")
    assert (refused.status_code, refused.json()["code"], refused.json()["revision"]) == (412, "plan-outdated", moved)
    assert [each["name"] for each in (await client.get("/documents")).json()["items"]] == ["crm"]
    assert (await client.post("/plans", json={"documents": [], "base": 0})).status_code == 409
    unmatched = await client.post("/plans", json={"documents": []}, headers={"If-Match": '"0"'})
    assert unmatched.status_code == 412


async def test_of_many_who_carry_out_a_plan_one_does(client: httpx2.AsyncClient) -> None:
    kept = await keep(client, BILLING)
    answers = await asyncio.gather(*(client.post(f"/plans/{kept['id']}/apply") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_a_plan_of_nothing_makes_no_revision(client: httpx2.AsyncClient) -> None:
    revision = (await apply(client, BILLING)).json()["revision"]
    kept = await keep(client, BILLING)
    assert (await client.post(f"/plans/{kept['id']}/apply")).json() == {"revision": revision, "differences": []}
    again = await client.post(f"/plans/{kept['id']}/apply")
    assert again.json()["detail"].endswith(" made no revision: nothing differed.")
    assert (await client.get(f"/plans/{kept['id']}")).json()["applied"]["revision"] is None


async def test_a_plan_of_which_more_would_follow_by_now_is_not_carried_out(client: httpx2.AsyncClient) -> None:
    secrets = await SecretRepository.open()
    await set_secret(secrets, "pw", "one", "ada")
    for dsn in ("env://HERE", "env://THERE"):
        await apply(client, {**CRM, "dsn": dsn, "password": "secret://pw"})
    kept = await keep(client, {**CRM, "dsn": "env://ELSEWHERE", "password": "secret://pw"})
    assert not any("dropped" in effect for each in kept["differences"] for effect in each["effects"]), "it was before"
    await set_secret(secrets, "pw", "two", "ada")
    refused = await client.post(f"/plans/{kept['id']}/apply")
    assert (refused.status_code, refused.json()["code"]) == (412, "plan-outdated")
    assert (await client.get("/documents")).headers["etag"] == f'"{kept["revision"]}"', "nothing is stored"
    assert [each.is_set for each in await secrets.list_secrets()] == [True]


async def test_a_plan_is_carried_out_on_the_revision_that_its_condition_names(client: httpx2.AsyncClient) -> None:
    kept = await keep(client, BILLING)
    path = f"/plans/{kept['id']}/apply"
    assert (await client.post(path, headers={"If-Match": '"7"'})).json()["code"] == "revision-unmatched"
    assert (await client.post(path, headers={"If-Match": f'"{kept["revision"]}"'})).status_code == 200


async def test_plans_are_kept_by_those_who_may_write(client: httpx2.AsyncClient, settings: Settings) -> None:
    kept = await keep(client, BILLING)
    client.headers["Authorization"] = f"Bearer {mint_token(settings, ['config:read'], subject='eve')}"
    assert (await client.get(f"/plans/{kept['id']}")).status_code == 200
    assert (await client.post("/plans", json={"documents": []})).status_code == 403
    assert (await client.post(f"/plans/{kept['id']}/apply")).status_code == 403
    assert (await client.get(f"/plans/{uuid4()}")).status_code == 404
    assert (await client.get("/plans/7")).status_code == 422


async def test_plans_go_when_they_are_old_and_what_was_done_is_noted(client: httpx2.AsyncClient) -> None:
    first = await keep(client, BILLING, message="soon")
    repository = await DocumentRepository.open()
    await repository.connection.execute("update cfg.plan set created_at = now() - make_interval(days => $1)", KEEP_DAYS)
    # Also while nobody kept another one.
    assert (await client.get(f"/plans/{first['id']}")).status_code == 404
    assert (await client.post(f"/plans/{first['id']}/apply")).status_code == 404
    second = await keep(client, CRM)
    assert await repository.connection.fetchval("select count(*) from cfg.plan") == 1
    await client.post(f"/plans/{second['id']}/apply")
    await client.post(f"/plans/{second['id']}/apply")
    rows = await repository.connection.fetch("select action, outcome, subject, reason from cfg.audit order by id")
    assert [tuple(row) for row in rows] == [
        ("plan.keep", "done", first["id"], "soon"),
        ("plan.keep", "done", second["id"], ""),
        ("plan.apply", "done", second["id"], ""),
        ("plan.apply", "refused", second["id"], ""),
    ]


async def test_the_command_line_keeps_plans_and_carries_them_out(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    file = tmp_path / "billing.yaml"
    file.write_text(json.dumps(BILLING))

    async def nms(*words: str) -> Any:
        answer = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--json"])
        return json.loads(answer.stdout) if answer.exit_code == 0 else (answer.exit_code, answer.stderr)

    kept = await nms("plan", "-f", str(file), "--keep", "-m", "as agreed")
    done = await nms("apply", "--plan", kept["id"])
    assert done["differences"] == kept["differences"]
    assert (await nms("revisions"))[0]["message"] == "as agreed"
    code, told = await nms("apply", "--plan", kept["id"])
    assert (code, json.loads(told)["code"]) == (1, "plan-applied")
    assert (await nms("apply", "--plan", kept["id"], "-f", str(file)))[0] == 2
    assert (await nms("apply", "--plan", kept["id"], "--prune"))[0] == 2
