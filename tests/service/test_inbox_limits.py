"""What an endpoint takes: kinds of content, packed bodies, depth, a rate; and what it says while it cannot store."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from tests.service.inbox import SECRET, SHOP, declare, receiving, send, signed, stored
from tests.service.web_client import problem_of
from tests.waiting import eventually

BODY = b'{"a": [[1]]}'


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(
        SHOP,
        {**SHOP, "name": "json", "content_types": ["application/json"], "depth": 3, "largest": 1000},
        {**SHOP, "name": "slow", "rate": {"limit": 3, "per": "1h"}},
    )
    async with receiving(settings) as client:
        yield client


async def test_a_kind_of_content_that_is_not_on_the_list_is_refused(inbox: httpx2.AsyncClient) -> None:
    for told, status in (("text/xml", 415), ("", 415), ("Application/JSON ; charset=utf-8", 202)):
        headers = {**signed(BODY, told or "none"), "Content-Type": told}
        assert (await inbox.post("/in/json", content=BODY, headers=headers)).status_code == status


@pytest.mark.parametrize("endpoint", ["shop", "json"])
async def test_a_content_type_that_is_told_twice_is_refused_and_none_of_them_taken(
    inbox: httpx2.AsyncClient, settings: Settings, endpoint: str
) -> None:
    headers = [*signed(BODY, "one").items(), ("content-type", "application/json")]
    problem_of(await inbox.post(f"/in/{endpoint}", content=BODY, headers=headers), 415, "content-type-refused")
    assert await stored(settings) == []


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_packed_body_is_stored_as_what_was_signed(
    inbox: httpx2.AsyncClient, settings: Settings, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = {**signed(BODY, "one"), "Content-Encoding": coding}
    assert (await inbox.post("/in/json", content=pack(BODY), headers=headers)).status_code == 202
    assert (await send(inbox, BODY, "one", "/in/json")).status_code == 200
    assert [row["body"] for row in await stored(settings)] == [BODY]


async def test_a_bomb_a_torn_body_and_an_unknown_coding_are_refused(inbox: httpx2.AsyncClient) -> None:
    async def post(content: bytes, coding: str) -> httpx2.Response:
        headers = {**signed(content, "one"), "Content-Encoding": coding}
        return await inbox.post("/in/json", content=content, headers=headers)

    bomb = gzip.compress(bytes(10_000_000))[:900]
    problem_of(await post(bomb, "gzip"), 413, "body-too-large")
    problem_of(await post(gzip.compress(BODY)[:-4], "gzip"), 400, "webhook-unreadable")
    problem_of(await post(BODY, "gzip"), 400, "webhook-unreadable")
    for coding in ("br", "gzip, gzip"):
        problem_of(await post(BODY, coding), 415, "coding-refused")


async def test_a_body_that_is_too_deep_is_refused_though_nothing_is_looked_for_in_it(inbox: httpx2.AsyncClient) -> None:
    assert (await send(inbox, BODY, "one", "/in/json")).status_code == 202
    problem_of(await send(inbox, b'{"a": [[[1]]]}', "two", "/in/json"), 400, "webhook-unreadable")


async def test_an_endpoint_that_had_its_share_says_when_to_come_again_and_strangers_take_none_of_it(
    inbox: httpx2.AsyncClient,
) -> None:
    for _ in range(5):
        assert (await inbox.post("/in/slow", content=b"{}")).status_code == 401
    answers = await asyncio.gather(*(send(inbox, b"{}", f"n{n}", "/in/slow") for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert problem_of(refused, 429, "too-many-events")["retry"] == "later"
    assert int(refused.headers["retry-after"]) > 60
    assert (await send(inbox, b"{}", "other")).status_code == 202


async def switch_writing(connection: Any, state: str) -> None:
    """As a server that fails over: whoever connects from now on can write, or cannot."""
    name = await connection.fetchval("select quote_ident(current_database())")
    await connection.execute("set default_transaction_read_only = off")
    await connection.execute(f"alter database {name} set default_transaction_read_only = {state}")
    await connection.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )


async def test_while_the_database_cannot_write_the_provider_is_asked_to_come_again(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    assert settings.db_nms_dsn is not None
    connection = await asyncpg.connect(settings.db_nms_dsn.get_secret_value())

    codes = set()

    async def answered(status: int) -> bool:
        answer = await send(inbox, b"{}", "one")
        if answer.status_code == 503:
            codes.add(answer.json()["code"])
            assert answer.headers["retry-after"] == "5"
        return answer.status_code == status

    asked = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked += 1
        yield b"{}"

    async def refused_unread() -> bool:
        nonlocal asked
        asked = 0
        answer: Any = await inbox.post("/in/shop", content=body(), headers=signed(b"{}", "one"))
        assert answer.status_code == 503
        return asked == 0

    try:
        await switch_writing(connection, "on")
        await eventually(lambda: answered(503))
        await eventually(refused_unread)
        await switch_writing(connection, "off")
        await eventually(lambda: answered(202))
    finally:
        await connection.close()
    assert "database-unavailable" in codes
    assert len(await stored(settings)) == 1
