"""Service tokens in every role: asked for once in a while, forgotten when revoked, marked as used."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nms.common import service_lookup, service_token, trust
from nms.common.db.queries import Statement
from nms.common.service_lookup import MISSING_SECONDS, REMEMBERED
from nms.common.settings import Settings
from tests.service.trusting import Auth, Door, auth_of, door_of
from tests.service.web_client import problem_of
from tests.waiting import eventually


@pytest.fixture
async def auth(auth_database: str) -> AsyncIterator[Auth]:
    async with auth_of(auth_database) as auth:
        yield auth


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Door]:
    async with door_of(settings) as door:
        yield door


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many hashes each look-up asked for."""
    sizes: list[int] = []
    call = Statement.__call__

    async def count(self: Statement, connection: Any, /, **arguments: Any) -> Any:
        if self is trust.queries.list_service_tokens:
            sizes.append(len(arguments["hashes"]))
        return await call(self, connection, **arguments)

    monkeypatch.setattr(Statement, "__call__", count)
    return sizes


async def test_a_machine_is_let_in_by_its_scopes_and_asked_for_once(door: Door, auth: Auth, asked: list[int]) -> None:
    token, _ = await auth.add_service("doors:read", name="loader")
    assert (await door.answer(token)).json() == {"subject": "loader", "kind": "service"}
    assert [await door.status(token) for _ in range(20)] == [200] * 20
    assert asked == [1]
    other, _ = await auth.add_service("doors:write")
    assert await door.status(other) == 403


async def test_a_revoked_one_is_refused_within_a_second(door: Door, auth: Auth) -> None:
    token, number = await auth.add_service("doors:read")
    assert await door.status(token) == 200
    async with auth.connection.transaction():
        await auth.connection.execute(
            "update auth.service_token set revoked_at = now() where id = $1::text::uuid", number
        )
        await auth.revoke("service-token", number)
    await eventually(door.refuses(token), seconds=1)


async def test_a_change_of_scopes_is_seen_within_a_second(door: Door, auth: Auth) -> None:
    token, number = await auth.add_service("doors:write")
    assert await door.status(token) == 403
    async with auth.connection.transaction():
        await auth.connection.execute(
            "update auth.service_token set scopes = '{doors:read}' where id = $1::text::uuid", number
        )
        await auth.revoke("service-token", number)
    await eventually(door.lets_in(token), seconds=1)


async def test_an_expired_one_is_refused_and_so_is_a_secret_after_its_overlap(door: Door, auth: Auth) -> None:
    token, number = await auth.add_service("doors:read")
    second = service_token.make()
    await auth.add_secret(number, second)
    assert [await door.status(one) for one in (token, second)] == [200, 200]
    await auth.connection.execute(
        "update auth.service_secret set good_until = now() - interval '1 s' where hash = $1",
        service_token.hash_of(token),
    )
    await auth.revoke("service-token", number)
    await eventually(door.refuses(token), seconds=1)
    assert await door.status(second) == 200
    expired, number = await auth.add_service("doors:read")
    await auth.connection.execute(
        "update auth.service_token set expires_at = now() - interval '1 s' where id = $1::text::uuid", number
    )
    assert await door.status(expired) == 401


async def test_what_is_remembered_is_asked_for_again_after_30_seconds(
    door: Door, auth: Auth, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service_lookup.FRESH_SECONDS == 30
    token, number = await auth.add_service("doors:read")
    assert await door.status(token) == 200
    await auth.connection.execute("delete from auth.service_token where id = $1::text::uuid", number)
    assert await door.status(token) == 200
    turned = door.feed._clock() + 31
    verifier: Any = door.verifier
    for one in (verifier, door.feed.services):
        monkeypatch.setattr(one, "_clock", lambda: turned)
    assert await door.status(token) == 401
    assert asked == [1, 1]


async def test_a_mistyped_or_invented_one_never_reaches_the_database(door: Door, asked: list[int]) -> None:
    good = service_token.make()
    for wrong in (good[:-1], good + "0", good[:-1] + "-", "nmss_", "nmss_" + "0" * 36, good.swapcase()):
        answer = await door.answer(wrong)
        problem_of(answer, 401, "token-refused")
        assert answer.headers["www-authenticate"] == 'Bearer realm="nms", error="invalid_token"'
    assert asked == []


async def test_unknown_ones_are_asked_for_together_and_not_again_for_a_while(
    door: Door, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine takes longer than they are remembered.
    now = door.feed._clock()
    monkeypatch.setattr(door.feed.services, "_clock", lambda: now)
    unknown = [service_token.make() for _ in range(200)]
    assert set(await asyncio.gather(*map(door.status, unknown))) == {401}
    assert sum(asked) == 200
    assert len(asked) < 100
    asked.clear()
    assert set(await asyncio.gather(*map(door.status, unknown))) == {401}
    assert asked == []
    assert MISSING_SECONDS < 30


async def test_the_memory_for_unknown_ones_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED == 4096
    monkeypatch.setattr(service_lookup, "REMEMBERED", 50)
    assert set(await asyncio.gather(*(door.status(service_token.make()) for _ in range(80)))) == {401}
    assert len(door.feed.services._missing) == 50


async def test_the_last_use_is_written_in_bulk_and_at_the_end(settings: Settings, auth: Auth) -> None:
    async with door_of(settings) as door:
        (token, number), (later, late) = await auth.add_service("doors:read"), await auth.add_service("doors:read")
        assert await door.status(token) == 200
        assert await auth.last_used(number) is None
        await door.feed.flush()
        assert await auth.last_used(number) is not None
        assert await door.status(later) == 200
        assert await auth.last_used(late) is None
    assert await auth.last_used(late) is not None
