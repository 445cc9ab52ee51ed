"""The audit of cfg: each change and each refused attempt has its entry, and nobody alters one."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.cfg.api.door import ACTIONS, OTHER, Attempts
from nms.cfg.audit import AuditRepository
from nms.cfg.main import create_app
from nms.common.db.pool import close_pools
from nms.common.router import PUBLIC_PATHS, list_scopes
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from tests.service.web_client import client_of, problem_of
from tests.services.postgres import PostgresServer

PAGE = Path(__file__).parents[2] / "docs/how-to/read-the-audit.md"
SYSTEM = {"kind": "system", "name": "crm", "type": "postgres", "dsn": "env://CRM_DSN"}
CHANGES = (
    "update cfg.audit set actor = 'nobody'",
    "delete from cfg.audit",
    "truncate cfg.audit",
    "truncate cfg.audit, cfg.revision, cfg.document restart identity cascade",
    "insert into cfg.audit (id, action, actor) overriding system value select id, action, 'nobody' from cfg.audit"
    " on conflict (id) do update set actor = excluded.actor",
    "merge into cfg.audit a using cfg.audit b on a.id = b.id when matched then delete",
)
SWITCHES = (
    "alter table cfg.audit disable trigger all",
    "alter table cfg.audit disable trigger audit_keep_rows",
    "drop trigger audit_keep_table on cfg.audit",
    "create or replace function cfg.keep_audit() returns trigger language plpgsql as 'begin return new; end'",
    "alter table cfg.audit rename to audit_before",
    "drop table cfg.audit",
    "create rule kept as on insert to cfg.audit do instead nothing",
    "set session_replication_role = replica",
)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(create_app(settings), token_of(settings, "config:write", "audit:read")) as client:
        yield client


def token_of(settings: Settings, *scopes: str) -> str:
    return mint_token(settings, scopes, subject="ada")


async def apply(client: httpx2.AsyncClient, *documents: Any, **parts: Any) -> httpx2.Response:
    headers = {"X-Request-Id": "request-of-ada"}
    return await client.put("/changesets", json={"documents": list(documents), **parts}, headers=headers)


async def entries_of(client: httpx2.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    answer = await client.get("/audit", params=wanted)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["items"]
    return entries


async def test_a_changeset_is_noted_with_who_why_from_where_and_what(client: httpx2.AsyncClient) -> None:
    first = (await apply(client, SYSTEM, {**SYSTEM, "name": "erp"}, message="two systems")).json()["revision"]
    await apply(client, SYSTEM, message="as it is")
    await apply(client, {**SYSTEM, "dsn": "env://OTHER"}, prune=True)
    second, entry = await entries_of(client)
    assert second["facts"] == {"before": first, "documents": {"change": ["system/crm"], "remove": ["system/erp"]}}
    assert entry | {"id": 0, "at": ""} == {
        "id": 0,
        "at": "",
        "action": "changeset.apply",
        "outcome": "done",
        "actor": "operator:ada",
        "address": "127.0.0.1",
        "request": "request-of-ada",
        "subject": "",
        "revision": first,
        "reason": "two systems",
        "facts": {"before": 0, "documents": {"add": ["system/crm", "system/erp"]}},
    }
    assert await entries_of(client, revision=first, action="changeset.apply", actor="operator:ada") == [entry]
    assert await entries_of(client, since=second["at"]) == [second]
    assert await entries_of(client, actor="ada") == []


async def test_what_is_refused_is_noted_by_its_logarithm(client: httpx2.AsyncClient, settings: Settings) -> None:
    for _ in range(5):
        problem_of(await apply(client, SYSTEM, base=7), 409, "revision-moved")
    problem_of(await apply(client, {**SYSTEM, "dsn": "no"}), 422, "malformed")
    entries = await entries_of(client, outcome="refused")
    assert [(one["action"], one["facts"]["code"], one["facts"]["attempts"]) for one in entries] == [
        ("changeset.apply", "revision-moved", number) for number in (4, 2, 1)
    ]
    weak = {"Authorization": f"Bearer {token_of(settings, 'me:read')}"}
    for path in ("/documents/system/crm", "/documents/system/%00", "/documents/system/%F0%9F%98%80%0A"):
        problem_of(await client.get(path, headers=weak), 403, "scope-missing")
    facts = {"route": "GET /documents/{kind}/{name}", "code": "scope-missing", "scope": "config:read"}
    noted = await entries_of(client, action=OTHER)
    assert [(one["subject"], one["facts"]) for one in noted] == [
        ("system", facts | {"attempts": 2}),
        ("system/crm", facts | {"attempts": 1}),
    ]
    problem_of(await client.get("/audit", headers=weak), 403, "scope-missing")


async def test_what_another_app_of_the_process_refused_counts_for_nothing(
    client: httpx2.AsyncClient, settings: Settings
) -> None:
    async with client_of(create_app(settings), token_of(settings, "config:write")) as other:
        problem_of(await apply(other, SYSTEM, base=7), 409, "revision-moved")
    problem_of(await apply(client, SYSTEM, base=7), 409, "revision-moved")
    assert [one["facts"]["attempts"] for one in await entries_of(client)] == [1, 1]


def test_an_attempt_after_a_quiet_time_is_the_first_again() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    counted = [attempts.count("ada", "PUT"), attempts.count("ada", "PUT"), attempts.count("eve", "PUT")]
    now = 900.0
    assert [*counted, attempts.count("ada", "PUT")] == [1, 2, 1, 1]
    for number in range(20_000):
        attempts.count(str(number))
    assert attempts.count("ada", "PUT") == 1


def test_every_route_that_writes_has_a_word_in_the_audit_and_on_its_page(settings: Settings) -> None:
    routes = list_scopes(create_app(settings))
    writing = {route for route in routes if not route.startswith("GET") and route.split()[1] not in PUBLIC_PATHS}
    assert writing - {"POST /plan", "POST /rollback/plan"} == ACTIONS.keys()
    rows = re.findall(r"^\| (`[^|]+)\|", PAGE.read_text("utf-8").partition("## What is declared")[2], re.M)
    assert {*ACTIONS.values(), OTHER} <= {word for row in rows for word in re.findall(r"`([a-z-]+\.[a-z-]+)`", row)}


@pytest.mark.parametrize("server", ["18", "15"], indirect=True)
async def test_even_a_superuser_who_plays_a_replica_can_only_add(
    server: PostgresServer, client: httpx2.AsyncClient, database: str
) -> None:
    await apply(client, SYSTEM)
    connection = await asyncpg.connect(server.superuser_dsn(database.rpartition("/")[2]))
    try:
        for role in ("origin", "replica"):
            await connection.execute(f"set session_replication_role = {role}")
            for statement in CHANGES:
                with pytest.raises(asyncpg.RestrictViolationError, match="only added to"):
                    await connection.execute(statement)
    finally:
        await connection.close()
    assert len(await entries_of(client)) == 1


@pytest.fixture
async def other_login(server: PostgresServer, database: str) -> AsyncIterator[str]:
    """The DSN of a login that does not own the tables and has what the page about the audit grants it."""
    name = database.rpartition("/")[2]
    login = f"roles_of_{name}"
    await server.execute(f"create role {login} login")
    found = re.search(r"```sql\n(grant usage.*?)```", PAGE.read_text("utf-8"), re.S)
    assert found is not None
    owner = await asyncpg.connect(database)
    await owner.execute(found[1].replace("nms_roles", login))
    await owner.close()
    yield server.dsn(name, login)
    await close_pools()
    await server.execute(f"drop owned by {login}", database=name)
    await server.execute(f"drop role {login}")


@pytest.mark.parametrize("server", ["18"], indirect=True)
async def test_a_role_whose_login_does_not_own_the_table_adds_entries_and_can_alter_nothing(
    other_login: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_NMS_DSN", other_login)
    get_settings.cache_clear()
    token = token_of(settings, "config:write", "audit:read")
    async with client_of(create_app(get_settings()), token) as client:
        assert (await apply(client, SYSTEM)).status_code == 200
        connection = (await AuditRepository.open()).connection
        for statement in (*CHANGES, *SWITCHES):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        assert [one["action"] for one in await entries_of(client)] == ["changeset.apply"]
