"""No write takes a field that is not its caller's to choose: refused by name, or nothing comes of it."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import Request
from pydantic import BaseModel, ConfigDict

from nms.common import web
from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.guard import requires
from nms.common.problem import Malformed
from nms.common.router import Router
from nms.common.settings import RoleSettings, Settings
from nms.common.token import mint_token
from tests.house.tree import refuse
from tests.service.foreign_fields import (
    FOREIGN,
    FORM,
    JSON,
    TRACES,
    Write,
    body_of,
    objects_of,
    writes_of,
)
from tests.service.inbox import declare
from tests.service.role_matrix import MADE_UP
from tests.service.signing import PASSWORD, house_of
from tests.service.test_role_matrix import all_roles
from tests.service.test_tokens import claims_of
from tests.service.warehouse import entity, make_entities
from tests.service.web_client import client_of

OPAQUE = re.compile(r"/(in|webhook)(/|$)")
"""Where webhooks come in: their bodies are the provider's own, kept as they are and never read as ours."""
NAMES = {"entity": "things", "key": "1", "name": "bob", "source": "left", "kind": "system"}
DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"kind": "system", "name": "left", "type": "postgres", "dsn": "postgresql://a@127.0.0.1:1/left"},
    {"kind": "system", "name": "right", "type": "postgres", "dsn": "postgresql://a@127.0.0.1:1/right"},
    {"kind": "pipeline", "name": "bob", "source": "left", "target": "right", "datasets": [{"source": "public.a"}]},
    {"kind": "endpoint", "name": "shop", "scheme": {"type": "bearer", "secrets": ["env://SHOP"]}},
    {"kind": "entity", "name": "others", "key": "id", "fields": {"id": {"type": "bigint"}}},
)
OWN = {"endpoint": {"id"}}
"""Fields of these names that documents have for their own."""
LOGIN = {"username": "vera@example.org", "password": PASSWORD}
BODIES: dict[str, Any] = {
    "POST /token": LOGIN,
    "PUT /changesets": {"documents": []},
    "POST /rollback": {"revision": 2},
    "POST /rollback/plan": {"revision": 2},
    "POST /plan": {"documents": []},
    "PUT /secrets/{name}": {"value": "a value of it"},
    "POST /things": {"number": 7, "label": "a"},
    "PUT /things/{key}": {"label": "b"},
    "PATCH /things/{key}": {"label": "c"},
}
"""What is better than the example of the document: it is taken."""


@dataclass
class Asked:
    """How one route of an app answers fields that are foreign to it."""

    client: httpx2.AsyncClient
    write: Write
    bodies: Mapping[str, Any]

    async def faults(self) -> AsyncIterator[str]:
        """What it takes: all foreign fields in the query, all in the body."""
        foreign = self.write.foreign()
        if len(foreign) < 12:
            yield f"only {len(foreign)} fields are foreign here"
        told = {name: value if isinstance(value, str | int) else value[0] for name, value in foreign.items()}
        if shows(answer := await self.send({**self.options({}), "params": told})):
            yield f"takes from the query what it answers with {answer.status_code}: {answer.text[:200]}"
        for kind in [each for each in (JSON, FORM) if each in self.write.media] or [JSON]:
            answer = await self.send(self.options(foreign, kind))
            # Forms of OAuth leave out what they do not know (RFC 6749, 3.2), and a body that nobody reads is none.
            read = kind == JSON and JSON in self.write.media
            if taken := sorted(foreign.keys() - refused(answer)) if read else []:
                yield f"takes {', '.join(taken)}: {answer.status_code} {answer.text[:200]}"
            if shows(answer):
                yield f"takes from the body what it answers with {answer.status_code}: {answer.text[:200]}"
            for lenient in lenient_objects(self.write) if read else ():
                yield f"takes anything in {lenient}"

    def options(self, extra: Mapping[str, Any], kind: str | None = None) -> dict[str, Any]:
        media = kind or next(iter(self.write.media), JSON)
        if not self.write.media:
            return {"json": dict(extra)} if extra else {}
        return body_of(self.write, media, self.bodies, extra)

    async def send(self, options: Mapping[str, Any]) -> httpx2.Response:
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: {**MADE_UP, **NAMES}.get(found[1], "7"), self.write.path)
        return await self.client.request(self.write.method.upper(), path, **options)


def refused(answer: httpx2.Response) -> set[str]:
    """The members of a body that were refused by their names."""
    if answer.status_code != 422:
        return set()
    return {each["pointer"].removeprefix("/") for each in answer.json()["errors"]}


def shows(answer: httpx2.Response) -> bool:
    """Whether something of a foreign field came to stand in what is shown, in the rights of a token, or in a crash."""
    if answer.status_code >= 400:
        return answer.status_code >= 500
    token = answer.json().get("access_token") if b'"access_token"' in answer.content else None
    claims = claims_of(token) if token else {}
    return any(trace in f"{answer.text} {claims}" for trace in TRACES) or claims.get("scope") == "*"


def lenient_objects(write: Write) -> list[str]:
    """Objects of a JSON body, at any depth, that let in members which they do not name."""
    found = objects_of(write.media[JSON], write.document, set())
    return [str(one.get("title")) for one in found if one.get("additionalProperties") is not False]


async def judge(name: str, client: httpx2.AsyncClient, write: Write, bodies: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {write.label}: {fault}" async for fault in Asked(client, write, bodies).faults()]


async def traces() -> list[str]:
    """Tables of all databases in which a foreign value came to stand."""
    found = []
    for kind in (DSNType.AUTH, DSNType.NMS, DSNType.DWH):
        pool = await get_pool(kind)
        tables = await pool.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema')"
        )
        union = " union all ".join(
            f"select '{row['name']}' as name, t::text as line from {row['name']} t" for row in tables
        )
        rows = await pool.fetch(f"select name, line from ({union}) as a where line ~ $1", "|".join(TRACES))
        found += [f"{kind.value}: {row['name']}: {row['line'][:200]}" for row in rows]
    return found


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def test_no_write_of_any_role_takes_a_foreign_field(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("SYNC", "AUTH", "INBOX", "WAREHOUSE"):
        monkeypatch.setenv(f"{role}_WORKER", "false")
    await declare(*DOCUMENTS)
    await make_entities(entity("things", {"number": "bigint", "label": "text"}, key="number"))
    faults, asked = [], 0
    async with house_of(settings) as house:
        ids = {
            name: str(await house.add(f"{name}@example.org", role))
            for name, role in (("ann", "admin"), ("vera", "viewer"))
        }
        token = (await house.log_in("ann@example.org"))["access_token"]
        async with all_roles(settings) as apps:
            for name, app in apps.items():
                async with client_of(app, token) as client:
                    writes = [one for one in writes_of(app) if not OPAQUE.match(one.path)]
                    asked += len(writes)
                    for write in writes:
                        faults += await judge(name, client, write, BODIES)
        admins = await house.pool.fetch("select account_id::text as id from auth.account_role where role = 'admin'")
    refuse((*faults, *await traces()))
    assert [row["id"] for row in admins] == [ids["ann"]]
    assert asked >= 45


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: str(one["kind"]) + "-" + str(one["name"]))
async def test_no_document_takes_a_foreign_field(settings: Settings, document: dict[str, Any]) -> None:
    foreign = {name: value for name, value in FOREIGN.items() if name not in OWN.get(document["kind"], ())}
    with pytest.raises(Malformed) as refusal:
        await declare({**document, **foreign})
    assert {each.pointer for each in refusal.value.pointers} >= {f"/documents/0/{name}" for name in foreign}


class Lenient(BaseModel):
    """A model that takes what it does not know, as pydantic does unless it is told otherwise, and keeps it."""

    model_config = ConfigDict(extra="allow")

    name: str = "a"


def planted() -> web.Role:
    """A role that takes foreign fields in a body, in a body within it, and from the query."""
    router = Router()

    class Nested(BaseModel):
        model_config = ConfigDict(extra="forbid")

        inner: Lenient = Lenient()

    @router.post("/bodies", dependencies=[requires("me:write")])
    async def keep(body: Lenient) -> dict[str, Any]:
        return body.model_dump()

    @router.post("/nested", dependencies=[requires("me:write")])
    async def keep_nested(body: Nested) -> None: ...

    @router.post("/queries", dependencies=[requires("me:write")])
    async def keep_query(request: Request) -> dict[str, Any]:
        return dict(request.query_params)

    return web.Role(name="demo", summary="", description="", routers=[router])


async def test_a_planted_lenient_model_is_caught(settings: Settings) -> None:
    app = web.create_app(planted(), settings, RoleSettings())
    async with client_of(app, mint_token(settings, ["me:write"], subject="test")) as client:
        faults = [fault for write in writes_of(app) for fault in await judge("demo", client, write, {})]
    assert [re.sub(r" (author|what|anything).*", "", fault) for fault in faults] == [
        "demo: POST /bodies: takes",
        "demo: POST /bodies: takes from the body",
        "demo: POST /bodies: takes",
        "demo: POST /nested: takes",
        "demo: POST /queries: takes from the query",
    ]
