"""The feed: every role knows keys and revocations of auth within a second."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from nms.common import trust
from nms.common.db.queries import Statement
from nms.common.settings import Settings
from tests.service.trusting import Auth, Door, Signer, auth_of, claims_of, door_of
from tests.services.postgres import PASSWORD, PostgresServer
from tests.waiting import eventually


@pytest.fixture
async def auth(auth_database: str) -> AsyncIterator[Auth]:
    async with auth_of(auth_database) as auth:
        yield auth


@pytest.fixture
async def signer(auth: Auth) -> Signer:
    signer = Signer()
    await auth.add_key(signer)
    return signer


@pytest.fixture
async def door(settings: Settings, signer: Signer) -> AsyncIterator[Door]:
    async with door_of(settings) as door:
        yield door


async def test_a_token_of_auth_is_taken_by_a_role_that_asks_nobody(door: Door, signer: Signer) -> None:
    answer = await door.answer(signer.sign(sub="6f0e"))
    assert answer.json() == {"subject": "6f0e", "kind": "user"}
    assert await door.status(signer.sign(scope="doors:write")) == 403


@pytest.mark.parametrize("kind", ["token", "session", "account", "key"])
async def test_a_revocation_is_real_within_a_second(door: Door, signer: Signer, auth: Auth, kind: str) -> None:
    claims = claims_of()
    token = signer.sign(**claims)
    assert await door.status(token) == 200
    subject = {"token": claims["jti"], "session": claims["sid"], "account": claims["sub"], "key": signer.kid}[kind]
    await auth.revoke(kind, subject, 2 if kind == "account" else None)
    await eventually(door.refuses(token), seconds=1)
    later = signer.sign(**claims | {"rev": 2, "iat": claims["iat"] + 1})
    assert await door.status(later) == (200 if kind == "account" else 401)


async def test_a_revocation_that_was_there_before_the_role_is_known_from_its_first_request(
    settings: Settings, signer: Signer, auth: Auth
) -> None:
    claims = claims_of()
    await auth.revoke("session", claims["sid"])
    async with door_of(settings) as door:
        assert await door.status(signer.sign(**claims)) == 401


@pytest.fixture
async def late_commit(door: Door, signer: Signer, auth: Auth, auth_database: str) -> AsyncIterator[tuple[str, Any]]:
    """A token, and the call that commits its revocation, which looks of others have passed by."""
    late, other = claims_of(), claims_of()
    token, passed = signer.sign(**late), signer.sign(**other)
    assert await door.status(token) == await door.status(passed) == 200
    async with auth_of(auth_database) as slow:
        transaction = slow.connection.transaction()
        await transaction.start()
        await slow.revoke("session", late["sid"])
        await auth.revoke("session", other["sid"])
        await eventually(door.refuses(passed), seconds=1)
        assert await door.status(token) == 200
        yield token, transaction.commit


async def test_a_late_commit_is_not_missed_and_nobody_waits_for_it(door: Door, late_commit: tuple[str, Any]) -> None:
    token, commit = late_commit
    await commit()
    await eventually(door.refuses(token), seconds=1)


async def test_a_feed_that_reads_from_the_newest_on_misses_the_late_commit(
    door: Door, late_commit: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the horizon is what the last look saw, not what it could not see yet."""
    token, commit = late_commit
    right = trust.queries.list_revocations
    wrong = replace(right, sql=right.sql.replace("pg_snapshot_xmin", "pg_snapshot_xmax"))
    assert wrong.sql != right.sql
    monkeypatch.setattr(trust.queries, "list_revocations", wrong)
    assert await door.feed.look()
    await commit()
    assert await door.feed.look()
    assert await door.status(token) == 200


async def test_without_notifications_a_poll_finds_the_revocation(
    settings: Settings, signer: Signer, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_deaf(*_: Any) -> None:
        await asyncio.Event().wait()

    assert trust.POLL_SECONDS == 30
    monkeypatch.setattr(trust, "listen", be_deaf)
    monkeypatch.setattr(trust, "POLL_SECONDS", 0.3)
    async with door_of(settings) as door:
        claims = claims_of()
        token = signer.sign(**claims)
        assert await door.status(token) == 200
        await auth.revoke("session", claims["sid"])
        await eventually(door.refuses(token), seconds=2)


async def test_a_listening_session_that_is_killed_is_replaced_and_what_was_told_meanwhile_is_read(
    door: Door, signer: Signer, auth: Auth
) -> None:
    claims = claims_of()
    token = signer.sign(**claims)
    assert await door.status(token) == 200
    await eventually(lambda: kill_others(auth))
    await auth.revoke("session", claims["sid"])
    await eventually(door.refuses(token), seconds=5)
    again = claims_of()
    token = signer.sign(**again)
    assert await door.status(token) == 200
    await auth.revoke("session", again["sid"])
    await eventually(door.refuses(token), seconds=1)


async def kill_others(auth: Auth) -> bool:
    """End every other session of this database, the listening one among them."""
    rows = await auth.connection.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
        " and backend_type = 'client backend'"
        " and pid <> pg_backend_pid()"
    )
    return len(rows) > 0


async def test_a_new_key_is_known_with_its_first_token_and_an_old_one_until_it_is_given_up(
    door: Door, signer: Signer, auth: Auth
) -> None:
    old, new = signer.sign(), Signer()
    await auth.add_key(new)
    assert await door.status(new.sign()) == 200
    assert await door.status(old) == 200
    await auth.connection.execute("update auth.signing_key set verifies_until = now() where kid = $1", signer.kid)
    await eventually(door.refuses(old), seconds=1)
    assert await door.status(new.sign()) == 200


async def test_an_unknown_key_is_asked_for_once_a_second_however_many_come(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    statement = trust.queries.list_verification_keys
    call: Callable[..., Any] = Statement.__call__

    async def count(self: Statement, connection: Any, /, **arguments: Any) -> Any:
        looks.extend([1] if self is statement else [])
        return await call(self, connection, **arguments)

    monkeypatch.setattr(Statement, "__call__", count)
    began = time.monotonic()
    statuses = await asyncio.gather(*(door.status(Signer().sign()) for _ in range(50)))
    assert set(statuses) == {401}
    # One look more may be the feed's own, after it began to listen.
    assert 1 <= len(looks) <= 2 + (time.monotonic() - began) / trust.ASK_SECONDS


async def test_the_roles_of_one_process_share_one_feed(settings: Settings, signer: Signer, auth: Auth) -> None:
    async with door_of(settings) as one, door_of(settings) as other:
        assert one.feed is other.feed
        claims = claims_of()
        token = signer.sign(**claims)
        assert [await one.status(token), await other.status(token)] == [200, 200]
        await auth.revoke("session", claims["sid"])
        await eventually(one.refuses(token), seconds=1)
        await eventually(other.refuses(token), seconds=1)
    assert not trust._feeds


async def test_the_age_of_the_feed_can_be_seen(door: Door) -> None:
    text = (await door.client.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith("nms_trust_read_timestamp_seconds ")]
    assert abs(time.time() - float(line.split()[1])) < 60
    assert (await door.client.get("/readyz")).json()["dependencies"]["trust"]["state"] == "up"


async def test_a_login_that_may_only_read_what_auth_publishes_is_enough(
    settings: Settings, signer: Signer, auth: Auth, server: PostgresServer
) -> None:
    login, database = f"reader_{uuid4().hex[:8]}", str(await auth.connection.fetchval("select current_database()"))
    await server.execute(f"create role {login} login password '{PASSWORD}'")
    await auth.connection.execute(f"grant usage on schema trust to {login}")
    await auth.connection.execute(f"grant select on all tables in schema trust to {login}")
    token, number = await auth.add_service("doors:read")
    try:
        async with door_of(settings.model_copy(update={"db_auth_dsn": SecretStr(server.dsn(database, login))})) as door:
            claims = claims_of()
            signed = signer.sign(**claims)
            assert [await door.status(signed), await door.status(token)] == [200, 200]
            await auth.revoke("session", claims["sid"])
            await eventually(door.refuses(signed), seconds=1)
        assert await auth.last_used(number) is not None
    finally:
        await server.execute(f"drop owned by {login}", database=database)
        await server.execute(f"drop role {login}")
