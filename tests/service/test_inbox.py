"""Webhooks: verified, stored, and only then acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from nms.common.configuration import Configuration, current_documents
from nms.common.db.queries import Statement
from nms.common.db.repositories import BaseNmsRepository
from nms.common.settings import Settings, get_settings
from nms.inbox import endpoints, repository
from tests.service.inbox import SECRET, SHOP, declare, receiving, send, signed, stored
from tests.service.web_client import problem_of
from tests.waiting import eventually


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)
    async with receiving(settings) as client:
        yield client


async def test_an_event_is_stored_as_it_came_before_it_is_acknowledged(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    body = b'{"ref": "refs/heads/main" }'
    answer = await send(inbox, body, "one")
    assert answer.status_code == 202
    (row,) = await stored(settings)
    assert (str(row["id"]), row["endpoint"], row["type"], row["body"]) == (answer.json()["id"], "shop", "push", body)


async def test_a_duplicate_is_answered_with_the_first_id_and_stored_once(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    answers = await asyncio.gather(*(send(inbox, b"{}", "one") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await stored(settings)) == 1


async def test_the_same_id_with_another_body_is_refused(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    first = await send(inbox, b"{}", "one")
    problem = problem_of(await send(inbox, b'{"a": 1}', "one"), 409, "id-reused")
    assert problem["event"] == first.json()["id"]
    assert len(await stored(settings)) == 1


async def test_what_is_stored_has_no_line_in_the_log_and_what_is_refused_has(
    inbox: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "nms.access"):
        answer = await send(inbox, b"{}", "one")
        own = await inbox.post("/in/shop", content=b"{}", headers={**signed(b"{}", "two"), "X-Request-Id": "my-own-id"})
        assert (await inbox.post("/in/shop", content=b"{}")).status_code == 401
    assert [record.getMessage() for record in caplog.records] == ["POST /in/shop 401"]
    assert answer.headers["x-request-id"] == answer.json()["id"]
    assert own.headers["x-request-id"] == "my-own-id"
    assert answer.headers["x-content-type-options"] == "nosniff"
    metrics = (await inbox.get("/metrics")).text
    assert 'nms_http_requests_total{method="POST",role="inbox",route="/in/{endpoint}",status="202"}' in metrics


async def test_what_stands_behind_the_name_of_an_endpoint_is_no_line_in_the_log(
    inbox: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "nms.access"):
        for path in ("/in/shop", "/in/shop/an/old%2Fsecret", "/in/nowhere/secret", "/webhook/secret"):
            await inbox.post(path, content=b"{}")
    told = ["/in/shop", "/in/shop/***", "/in/nowhere/***", "/webhook/***"]
    assert [record.__dict__["path"] for record in caplog.records] == told
    assert "secret" not in caplog.text


async def test_what_is_not_proved_is_not_stored(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    answer = await inbox.post("/in/shop", content=b"{}", headers=signed(b"{}", "one", "another-secret"))
    assert problem_of(answer, 401, "not-believed")["reason"]
    assert problem_of(await inbox.post("/in/shop", content=b"{}"), 401, "not-believed")["reason"] == "header-missing"
    problem_of(await inbox.get("/in/shop"), 405, "method-not-allowed")
    problem_of(await send(inbox, b"{}", "one", "/in/nowhere"), 404, "endpoint-unknown")
    assert await stored(settings) == []


async def test_documents_are_read_once_for_a_revision(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    read = []

    async def counted(repository: BaseNmsRepository) -> Configuration:
        read.append(await current_documents(repository))
        return read[-1]

    monkeypatch.setattr(endpoints, "current_documents", counted)
    looking = endpoints.Endpoints(dev=False)
    for revision in (1, 2):
        await declare({**SHOP, "name": f"shop{revision}"})
        for _ in range(3):
            await looking.look()
        assert [one.revision for one in read] == list(range(1, revision + 1))
        assert looking.get(f"shop{revision}")


async def test_a_role_that_starts_before_its_database_asks_to_be_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)
    async with AsyncExitStack() as stack:
        with monkeypatch.context() as away:
            away.setenv("DB_NMS_DSN", "postgresql://nms@127.0.0.1:1/nms")
            get_settings.cache_clear()
            client = await stack.enter_async_context(receiving(get_settings()))
            for path in ("/in/shop", "/in/nowhere"):
                refused = await send(client, b"{}", "one", path)
                problem_of(refused, 503, "endpoint-unready")
                assert refused.headers["retry-after"] == "5"
        get_settings.cache_clear()

        async def taken() -> bool:
            return (await send(client, b"{}", "one")).status_code == 202

        await eventually(taken)
        problem_of(await send(client, b"{}", "one", "/in/nowhere"), 404, "endpoint-unknown")


async def test_requests_that_come_together_share_a_commit(
    inbox: httpx2.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = []
    call = Statement.__call__

    async def count(self: Statement, connection: Any, /, **arguments: Any) -> Any:
        if self is repository.queries.insert_events:
            commits.append(len(arguments["ids"]))
        return await call(self, connection, **arguments)

    monkeypatch.setattr(Statement, "__call__", count)
    answers = await asyncio.gather(*(send(inbox, b"{}", f"n{n}") for n in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(commits) == 50
    assert len(commits) < 25
    assert len(await stored(settings)) == 50


async def test_a_body_beyond_the_limit_is_refused_while_it_comes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare({**SHOP, "largest": 1000})
    seen = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal seen
        while seen < 1_000_000:
            seen += 100
            yield b"x" * 100

    async with receiving(settings) as client:
        answer = await client.post("/in/shop", content=endless(), headers=signed(b"", "one"))
        assert problem_of(answer, 413, "body-too-large")["limit"] == 1000
        assert (await send(client, b"{}", "two")).status_code == 202


async def test_a_new_endpoint_receives_without_a_restart_and_a_secret_that_was_missing_is_tried_again(
    inbox: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = {"type": "github", "secrets": ["env://OTHER_HOOK"]}
    await declare({"kind": "endpoint", "name": "other", "scheme": scheme})

    async def answered(status: int) -> bool:
        return (await send(inbox, b"{}", "one", "/in/other")).status_code == status

    await eventually(lambda: answered(503))
    refused = await send(inbox, b"{}", "one", "/in/other")
    assert problem_of(refused, 503, "endpoint-unready")["retry"] == "later"
    assert "OTHER_HOOK" not in refused.text
    assert refused.headers["retry-after"] == "5"
    monkeypatch.setenv("OTHER_HOOK", SECRET)
    await declare({"kind": "endpoint", "name": "webhook", "scheme": scheme})
    await eventually(lambda: answered(202))
    assert (await send(inbox, b"{}", "one", "/webhook")).status_code == 202
