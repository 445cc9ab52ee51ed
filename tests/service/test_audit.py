"""The audit: read in pages by what one looks for, and only ever added to."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.auth.main import create_app
from nms.auth.repository import AuthRepository
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.web_client import client_of, problem_of
from tests.services.postgres import PostgresServer

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
async def repository(settings: Settings) -> AuthRepository:
    return await AuthRepository.open()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(create_app(settings), mint_token(settings, ["audit:read"], subject="ada")) as client:
        yield client


async def add_entry(repository: AuthRepository, number: int) -> None:
    """An entry of another minute, by one of two actors on one of three subjects; every fourth was refused."""
    insert = (
        "insert into auth.audit (at, action, outcome, actor, subject, facts) values ($1, 'user.create', $2, $3, $4, $5)"
    )
    outcome = "refused" if number % 4 == 0 else "done"
    who = f"actor-{number % 2}", f"subject-{number % 3}"
    await repository.connection.execute(insert, NOON + timedelta(minutes=number), outcome, *who, {"number": number})


async def numbers(client: httpx2.AsyncClient, **wanted: Any) -> list[int]:
    """The numbers of all entries, page after page."""
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/audit", params={**wanted, "limit": "2", **cursor})
        assert answer.status_code == 200, answer.text
        found += [entry["facts"]["number"] for entry in answer.json()["items"]]
        if answer.json()["next"] is None:
            return found
        cursor = {"cursor": answer.json()["next"]}


async def test_entries_are_read_newest_first_by_what_one_looks_for(
    repository: AuthRepository, client: httpx2.AsyncClient
) -> None:
    for number in range(9):
        await add_entry(repository, number)
    assert await numbers(client) == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert await numbers(client, actor="actor-1") == [7, 5, 3, 1]
    assert await numbers(client, subject="subject-0", outcome="done") == [6, 3]
    assert await numbers(client, outcome="refused") == [8, 4, 0]
    since, until = (NOON + timedelta(minutes=number) for number in (2, 5))
    assert await numbers(client, since=since.isoformat(), until=until.isoformat()) == [4, 3, 2]
    assert await numbers(client, action="user.delete") == []
    (entry, *_) = (await client.get("/audit", params={"actor": "actor-1"})).json()["items"]
    assert entry | {"id": 0} == {
        "id": 0,
        "at": "2026-05-01T12:07:00Z",
        "action": "user.create",
        "outcome": "done",
        "actor": "actor-1",
        "subject": "subject-1",
        "address": "",
        "facts": {"number": 7},
    }


MALFORMED = (
    "since=yesterday",
    "since=2026-05-01T12:00:00",
    "since=0001-01-01T00:00:00%2B14:00",
    "outcome=lost",
    "actor=%00",
)


async def test_a_filter_that_cannot_be_is_malformed(client: httpx2.AsyncClient) -> None:
    for query in MALFORMED:
        assert (await client.get(f"/audit?{query}")).status_code == 422, query


async def test_the_audit_has_a_scope_of_its_own(client: httpx2.AsyncClient, settings: Settings) -> None:
    client.headers["Authorization"] = f"Bearer {mint_token(settings, ['users:read'], subject='eve')}"
    problem_of(await client.get("/audit"), 403, "scope-missing")


CHANGES = (
    "update auth.audit set actor = 'nobody'",
    "delete from auth.audit",
    "truncate auth.audit",
    "truncate auth.audit restart identity cascade",
    "insert into auth.audit (id, action, actor) overriding system value select id, action, 'nobody' from auth.audit"
    " on conflict (id) do update set actor = excluded.actor",
    "merge into auth.audit a using auth.audit b on a.id = b.id when matched then delete",
)


@pytest.mark.parametrize("server", ["18", "15"], indirect=True)
async def test_even_the_owner_can_only_add_to_it(server: PostgresServer, repository: AuthRepository) -> None:
    await add_entry(repository, 1)
    for statement in CHANGES:
        with pytest.raises(asyncpg.RestrictViolationError, match="only added to"):
            await repository.connection.execute(statement)
    assert await repository.connection.fetchval("select array_agg(actor) from auth.audit") == ["actor-1"]
