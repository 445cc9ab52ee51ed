"""Tokens where rules meet: long lives, no end, odd scopes, many refreshes, other lives of the database."""

import pytest

from nms.common.problem import Problem
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from nms.common.trust import Feed
from nms.common.verifier import Verifier, own_keys
from tests.service.signing import House, house_of
from tests.waiting import eventually


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
