"""Tokens where rules meet: long lives, no end, odd scopes, many refreshes, other lives of the database."""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import jwt
import pytest

from nms.auth import keys, sessions
from nms.auth.claim import Claim
from nms.auth.keys import Signer, rotate_keys
from nms.auth.models import Actor, Tokens
from nms.auth.password import Passwords
from nms.auth.problems import AuthBusy
from nms.auth.sessions import Refresh, RefreshKey
from nms.common.db.dsn import DSNType
from nms.common.db.pool import Pool, get_pool
from nms.common.db.problems import DatabaseUnavailable
from nms.common.log import redact
from nms.common.problem import Problem
from nms.common.seal import Sealer
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from nms.common.trust import Feed
from nms.common.verifier import Key, Verifier, own_keys
from tests.service.signing import PASSWORD, House, house_of
from tests.service.web_client import problem_of
from tests.waiting import eventually

MORE = 5
SECRET = b"k" * 31 + b"!"


async def test_a_revoked_token_stays_revoked_until_it_expires(auth_settings: Settings) -> None:
    token = {"access_token": mint_token(auth_settings, ["*"], subject="oncall", seconds=86_400)}
    async with house_of(auth_settings) as house:
        assert (await house.ask("GET", "/users", token)).status_code == 200
        assert (await house.client.post("/token/revoke", data={"token": token["access_token"]})).status_code == 200

        async def refused() -> bool:
            return (await house.ask("GET", "/users", token)).status_code == 401

        await eventually(refused)
        # An hour passes for the database; the token has most of a day to go.
        await house.pool.execute("update auth.revocation set expires_at = expires_at - interval '62 min'")
    async with house_of(auth_settings) as again:
        assert (await again.ask("GET", "/users", token)).status_code == 401


async def test_a_service_token_without_an_end_is_introspected(house: House) -> None:
    await house.add("root@example.org", "admin")
    root = await house.log_in("root@example.org")
    made = await house.ask("POST", "/service-tokens", root, json={"name": "robot", "scopes": ["pipelines:read"]})
    answer = await house.ask("POST", "/introspect", root, data={"token": made.json()["token"]})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["active"], told["scope"], "exp" in told) == (True, "pipelines:read", False)


@pytest.mark.parametrize("scope", ["a\0b", "nonsense", "*:read", "pipelines:write"])
async def test_a_refused_scope_tells_nothing_of_the_password_unless_it_is_one(house: House, scope: str) -> None:
    await house.add("ann@example.org", "viewer")
    wrong = await house.try_login("ann@example.org", "wrong password", scope=scope)
    right = await house.try_login("ann@example.org", scope=scope)
    assert (wrong.status_code, right.status_code) == (400, 400)
    assert (wrong.json()["code"] == right.json()["code"]) == (scope != "pipelines:write")
    assert [line["outcome"] for line in await house.audited("session.open")] == ["refused", "refused"]


async def test_a_retry_in_time_gets_its_successor_however_often_was_refreshed_since(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    first = token = (await house.log_in("ann@example.org"))["refresh_token"]
    successors = []
    for _ in range(12):
        token = (await house.refresh(token)).json()["refresh_token"]
        successors.append(token)
    late = await house.refresh(first)
    assert late.json()["refresh_token"] == successors[0]
    assert (await house.refresh(token)).status_code == 200


async def test_rotations_are_kept_for_the_longest_window_and_no_longer(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    token = (await house.log_in("ann@example.org"))["refresh_token"]
    token = (await house.refresh(token)).json()["refresh_token"]
    await house.pool.execute("update auth.session set rotations = array[now() - interval '301 s']")
    assert (await house.refresh(token)).status_code == 200
    assert await house.pool.fetchval("select cardinality(rotations) from auth.session") == 1


async def test_a_place_of_another_life_of_the_database_starts_anew(house: House) -> None:
    await house.add("root@example.org", "admin")
    root, other = await house.log_in("root@example.org"), await house.log_in("root@example.org")
    await house.client.post("/token/revoke", data={"token": other["refresh_token"]})
    horizon = int((await house.ask("GET", "/revocations", root)).json()["next"])
    for place in (f"{horizon + 1_000_000}", f"{horizon + 1_000_000}.{horizon + 1_000_000}.1"):
        told = (await house.ask("GET", "/revocations", root, params={"since": place})).json()
        assert [one["kind"] for one in told["items"]] == ["session"]
        assert int(told["next"]) < horizon + 1_000_000


async def test_a_role_that_never_read_revocations_takes_no_token_of_a_session(
    auth_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", "HS256")
    get_settings.cache_clear()
    shared = get_settings()
    async with house_of(shared) as house:
        await house.add("ann@example.org", "viewer")
        tokens = await house.log_in("ann@example.org")
        assert (await house.ask("GET", "/sessions", tokens)).status_code == 200
        await house.client.post("/token/revoke", data={"token": tokens["refresh_token"]})

    async def away() -> None:
        raise OSError("the database is away")

    verifier = Verifier(own_keys(shared), issuer=shared.jwt_issuer, audience=shared.jwt_audience)
    verifier.trust = feed = Feed(away)  # type: ignore[arg-type]
    assert not await feed.look()
    with pytest.raises(Problem) as refused:
        await verifier.identify_token(tokens["access_token"])
    assert refused.value.code == "trust-away"


async def test_a_changed_password_refuses_tokens_of_sessions_that_ran_idle_too(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    other = await house.log_in("ann@example.org")
    await house.pool.execute("update auth.session set idle_until = now() - interval '1 s'")
    own = await house.log_in("ann@example.org")
    change = {"current": PASSWORD, "new": "another fine battery"}
    assert (await house.ask("PUT", "/me/password", own, json=change)).status_code == 204

    async def refused() -> bool:
        return (await house.ask("GET", "/me", other)).status_code == 401

    await eventually(refused)


async def test_nobody_signs_with_a_key_that_was_given_up(house: House, auth_settings: Settings) -> None:
    await house.add("ann@example.org", "viewer")
    old = await house.log_in("ann@example.org")
    await rotate_keys(house.repository, Sealer(auth_settings.sealing_key()), Actor("test"), give_up=True)

    async def refused() -> bool:
        return (await house.ask("GET", "/me", old)).status_code == 401

    await eventually(refused)
    fresh = await house.log_in("ann@example.org")
    assert (await house.ask("GET", "/me", fresh)).status_code == 200


async def test_what_a_machine_does_never_stands_as_done_by_an_account(house: House) -> None:
    admin = await house.add("root@example.org", "admin")
    root = await house.log_in("root@example.org")
    name = f"a{str(admin)[1:]}"
    made = await house.ask("POST", "/service-tokens", root, json={"name": name, "scopes": ["users:write", "me:*"]})
    robot = {"access_token": made.json()["token"]}
    new = {"email": "eve@example.org", "password": "four words by chance"}
    assert (await house.ask("POST", "/users", robot, json=new)).status_code == 201
    assert (await house.audited("user.create"))[-1]["actor"] == f"service:{name}"


async def test_a_password_typed_as_the_address_is_kept_nowhere(house: House) -> None:
    await house.try_login("my secret pass phrase", "ann@example.org")
    (line,) = await house.audited("session.open")
    assert line["actor"] == "no address"


async def test_a_last_use_in_the_future_is_not_believed(house: House) -> None:
    await house.add("root@example.org", "admin")
    root = await house.log_in("root@example.org")
    await house.ask("POST", "/service-tokens", root, json={"name": "robot", "scopes": ["pipelines:read"]})
    future = "select trust.mark_used(array(select hash from trust.service_token), array['2299-01-01'::timestamptz])"
    await house.pool.execute(future)
    assert await house.pool.fetchval("select last_used_at <= now() from auth.service_secret")


@pytest.mark.parametrize(
    ("thing", "secret"),
    [
        (Signer("shared", "HS256", SECRET), repr(SECRET)),
        (Key(SECRET), repr(SECRET)),
        (Refresh(uuid4(), b"s" * 16, 1), repr(b"s" * 16)),
        (Claim("the-claim-token", datetime.now(UTC)), "the-claim-token"),
        (Tokens(access_token="eyJ.a.b", expires_in=1, refresh_token="nmsr_x", scope=""), "nmsr_x"),
    ],
    ids=["Signer", "Key", "Refresh", "Claim", "Tokens"],
)
def test_printing_it_shows_no_secret(thing: object, secret: str) -> None:
    assert secret not in repr(thing)


def test_the_log_hides_refresh_tokens() -> None:
    token = RefreshKey(SECRET).sign(Refresh(uuid4(), b"s" * 16, 1))
    assert token not in redact(f"could not use {token}")


async def test_a_change_to_the_shared_key_lets_the_earlier_one_expire(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.add("ann@example.org", "viewer")
    earlier = await house.log_in("ann@example.org")
    monkeypatch.setenv("JWT_ALGORITHM", "HS256")
    get_settings.cache_clear()
    async with house_of(get_settings()) as shared:
        later = await shared.log_in("ann@example.org")
        for tokens in (earlier, later):
            assert (await shared.ask("GET", "/me", tokens)).status_code == 200
        endless = "select count(*) from auth.signing_key where verifies_until is null"
        assert await shared.pool.fetchval(endless) == 0


async def test_public_keys_are_told_and_no_session_is_opened_under_another_secrets_key(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.add("ann@example.org", "viewer")
    await house.log_in("ann@example.org")
    monkeypatch.setenv("SECRETS_KEY", "another key of the same length, of 48 bytes in all")
    get_settings.cache_clear()
    async with house_of(get_settings()) as other:
        problem_of(await other.try_login("ann@example.org"), 503, "key-sealed")
        assert len((await other.client.get("/.well-known/jwks.json")).json()["keys"]) == 1
        assert await other.pool.fetchval("select count(*) from auth.session") == 1


async def test_a_service_token_makes_none_that_outlives_it(house: House) -> None:
    await house.add("root@example.org", "admin")
    root = await house.log_in("root@example.org")
    scopes = ["service-tokens:write", "service-tokens:read"]
    body = {"name": "parent", "scopes": scopes, "ttl": 3600}
    parent = (await house.ask("POST", "/service-tokens", root, json=body)).json()
    machine = {"access_token": parent["token"]}
    child = await house.ask("POST", "/service-tokens", machine, json={"name": "child", "scopes": scopes})
    assert child.json()["expires_at"] == parent["expires_at"]
    longer = {"name": "longer", "scopes": scopes, "ttl": 7200}
    problem_of(await house.ask("POST", "/service-tokens", machine, json=longer), 422, "malformed")
    shorter = await house.ask("POST", "/service-tokens", machine, json={**longer, "ttl": 60})
    assert shorter.status_code == 201


async def test_the_feed_goes_on_when_its_ear_fails(auth_settings: Settings) -> None:
    pool, calls = await get_pool(DSNType.AUTH), 0

    async def flaky() -> Pool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DatabaseUnavailable("The pool was being opened anew.")
        return pool

    feed = Feed(flaky)
    task = asyncio.create_task(feed.run())
    try:

        async def looked_again() -> bool:
            feed._wake.set()
            return calls >= 4

        await eventually(looked_again)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_attempt_that_nobody_had_time_for_is_noted_and_held_against_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.add("ann@example.org", "viewer")

    async def busy(*_: object) -> None:
        raise AuthBusy

    with monkeypatch.context() as patch:
        patch.setattr(Passwords, "verify", busy)
        for _ in range(12):
            assert (await house.try_login("ann@example.org")).status_code == 503
    assert [line["facts"] for line in await house.audited("session.open")] == [{"reason": "busy"}] * 12
    await house.log_in("ann@example.org")


async def test_an_account_keeps_its_newest_sessions_and_no_more_than_it_may(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    await house.add("ann@example.org", "viewer")
    tokens = [await house.log_in("ann@example.org") for _ in range(MORE)]
    shown = (await house.ask("GET", "/sessions", tokens[-1])).json()["items"]
    assert len(shown) == 3
    problem_of(await house.refresh(tokens[0]["refresh_token"]), 400, "refresh-refused")
    assert (await house.refresh(tokens[-1]["refresh_token"])).status_code == 200


async def test_a_feed_whose_database_begins_another_life_reads_from_the_start(house: House) -> None:
    feed = Feed(partial(get_pool, DSNType.AUTH))
    assert await feed.look()
    feed._since = str(int(feed._since) + 1_000_000)
    await house.repository.insert_revocation("session", "s", None, 3600)
    for _ in range(2):
        assert await feed.look()
    assert len(feed.revocations) == 1


async def test_a_service_token_is_asked_for_again_once_a_change_and_not_at_each_look(house: House) -> None:
    heard: list[set[str]] = []

    class Follower:
        def recheck(self, services: set[str]) -> None:
            heard.append(set(services))

    feed = Feed(partial(get_pool, DSNType.AUTH))
    feed.followers.add(Follower())  # type: ignore[arg-type]
    async with house.pool.acquire() as idle:
        transaction = idle.transaction()
        await transaction.start()
        await idle.execute("select pg_current_xact_id()")
        await house.repository.insert_revocation("service-token", "id", None, 3600)
        for _ in range(5):
            assert await feed.look()
        await transaction.rollback()
    assert [one for one in heard if one] == [{"id"}]


async def test_a_rotation_under_the_shared_key_makes_no_key_that_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", "HS256")
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    get_settings.cache_clear()
    async with house_of(get_settings()) as shared:
        await shared.add("ann@example.org", "viewer")
        await shared.log_in("ann@example.org")
        await rotate_keys(shared.repository, Sealer(get_settings().sealing_key()), Actor("test"))
        await shared.log_in("ann@example.org")
        endless = "select count(*) from auth.signing_key where verifies_until is null"
        assert await shared.pool.fetchval(endless) == 0


async def test_a_session_that_is_none_is_no_server_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", "HS256")
    get_settings.cache_clear()
    settings = get_settings()
    now = int(time.time())
    claims = {"iss": "nms", "aud": "nms", "sub": "ann", "sid": "one", "rev": 1, "scope": "me:read me:write", "jti": "x"}
    times = {"iat": now, "nbf": now, "exp": now + 600}
    head = {"typ": "at+jwt", "kid": "shared"}
    token = {"access_token": jwt.encode({**claims, **times}, settings.signing_key(), algorithm="HS256", headers=head)}
    async with house_of(settings) as shared:
        for path in ("/me", "/sessions"):
            problem_of(await shared.ask("GET", path, token), 404, "not-found")
        assert (await shared.client.post("/token/revoke", data={"token": token["access_token"]})).status_code == 200
