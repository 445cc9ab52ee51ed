"""Logging in, refreshing, logging out, over a real database."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nms.auth.keys import rotate_keys
from nms.auth.models import Actor
from nms.common.seal import Sealer
from nms.common.settings import Settings
from tests.service.signing import PASSWORD, House, house_of
from tests.service.web_client import problem_of
from tests.waiting import eventually

LONG_AGO = "update auth.session set rotations = array(select at - interval '1 hour' from unnest(rotations) at)"


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with house_of(settings) as house:
        yield house


def claims_of(token: str, part: int = 1) -> dict[str, Any]:
    piece = token.split(".")[part]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(piece + "=" * (-len(piece) % 4)))
    return claims


async def test_a_login_gives_a_pair_whose_access_token_opens_what_the_roles_allow(house: House) -> None:
    account = await house.add("ann@example.org", "viewer")
    answer = await house.try_login("ann@example.org")
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    claims = claims_of(tokens["access_token"])
    assert claims["sub"] == str(account)
    assert claims.keys() == {"iss", "aud", "sub", "client_id", "sid", "rev", "scope", "iat", "nbf", "exp", "jti"}
    header = claims_of(tokens["access_token"], 0)
    assert (header["typ"], header["alg"]) == ("at+jwt", "EdDSA")
    (key,) = (await house.client.get("/.well-known/jwks.json")).json()["keys"]
    assert key["kid"] == header["kid"]
    assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
    (own,) = (await house.ask("GET", "/sessions", tokens)).json()["items"]
    assert (own["id"], own["current"]) == (claims["sid"], True)


async def test_less_than_the_account_may_can_be_asked_for_and_stays_so(house: House) -> None:
    await house.add("ann@example.org", "admin")
    tokens = await house.log_in("ann@example.org", scope="pipelines:read me:read")
    assert claims_of(tokens["access_token"])["scope"] == "pipelines:read me:read"
    again = (await house.refresh(tokens["refresh_token"])).json()
    assert again["scope"] == "pipelines:read me:read"
    await house.add("bob@example.org", "viewer")
    for scope in ("pipelines:write", "*", "nonsense"):
        refused = problem_of(await house.try_login("bob@example.org", scope=scope), 400, "scope-refused")
        assert refused["error"] == "invalid_scope"


async def test_the_refused_are_told_the_same(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    closed = await house.add("closed@example.org", "viewer")
    await house.pool.execute("update auth.account set disabled = true where id = $1", closed)
    answers = [
        await house.try_login("nobody@example.org"),
        await house.try_login("ann@example.org", "wrong"),
        await house.try_login("closed@example.org"),
    ]
    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert {(one.status_code, len(one.content)) for one in answers} == {(400, len(answers[0].content))}
    assert bodies[0]["error"] == "invalid_grant"
    reasons = [row["facts"] for row in await house.audited("session.open")]
    assert [reason["reason"] for reason in reasons] == ["unknown", "password", "disabled"]


async def test_64_parallel_refreshes_get_one_successor_and_nobody_is_signed_out(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    first = (await house.log_in("ann@example.org"))["refresh_token"]
    answers = await asyncio.gather(*(house.refresh(first) for _ in range(64)))
    assert {answer.status_code for answer in answers} == {200}
    (successor,) = {answer.json()["refresh_token"] for answer in answers}
    assert (await house.refresh(successor)).status_code == 200
    assert (await house.refresh(first)).json()["refresh_token"] == successor, "a straggler of a moment ago"
    assert await house.pool.fetchval("select count(*) from auth.session where ended_at is null") == 1


async def test_a_replay_after_the_window_ends_the_session_and_is_told(house: House) -> None:
    account = await house.add("ann@example.org", "viewer")
    tokens = await house.log_in("ann@example.org")
    newest = (await house.refresh(tokens["refresh_token"])).json()
    await house.pool.execute(LONG_AGO)
    problem_of(await house.refresh(tokens["refresh_token"]), 400, "refresh-refused")
    problem_of(await house.refresh(newest["refresh_token"]), 400, "refresh-refused")
    (line,) = await house.audited("session.end")
    assert (line["outcome"], line["subject"]) == ("refused", str(account))
    event = await house.pool.fetchrow("select * from common.outbox where type = 'auth.session.ended'")
    assert event is not None
    assert event["payload"]["reason"] == "replayed"

    async def out() -> bool:
        return (await house.ask("GET", "/sessions", newest)).status_code == 401

    await eventually(out, 2)


async def test_a_generation_ahead_of_a_restored_database_is_good(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    token = (await house.log_in("ann@example.org"))["refresh_token"]
    for _ in range(3):
        token = (await house.refresh(token)).json()["refresh_token"]
    await house.pool.execute("update auth.session set generation = 1, rotations = '{}'")
    following = (await house.refresh(token)).json()["refresh_token"]
    assert (await house.refresh(following)).status_code == 200


async def test_a_forged_refresh_token_is_refused_and_harms_nobody(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    good = (await house.log_in("ann@example.org"))["refresh_token"]
    forged = [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(len("nmsr_"), len(good))]
    forged += [good[:at] for at in range(1, len(good))] + [good + "A", good + "=", "nmsr_", "nmsr_äöü", good.upper()]
    for one in forged:
        problem_of(await house.refresh(one), 400, "refresh-refused")
    assert (await house.refresh(good)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        "update auth.session set idle_until = now()",
        "update auth.session set expires_at = now()",
        "update auth.account set disabled = true",
        "delete from auth.account",
    ],
)
async def test_a_session_that_is_over_is_not_refreshed(house: House, change: str) -> None:
    await house.add("ann@example.org", "viewer")
    token = (await house.log_in("ann@example.org"))["refresh_token"]
    await house.pool.execute(change)
    problem_of(await house.refresh(token), 400, "refresh-refused")


async def test_a_logout_is_real_within_a_second(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    tokens = await house.log_in("ann@example.org")
    assert (await house.ask("GET", "/sessions", tokens)).status_code == 200
    answer = await house.client.post("/token/revoke", data={"token": tokens["refresh_token"]})
    assert answer.status_code == 200

    async def out() -> bool:
        return (await house.ask("GET", "/sessions", tokens)).status_code == 401

    await eventually(out, 1)
    problem_of(await house.refresh(tokens["refresh_token"]), 400, "refresh-refused")
    for nonsense in ("x", "nmsr_x", tokens["refresh_token"]):
        assert (await house.client.post("/token/revoke", data={"token": nonsense})).status_code == 200


async def test_an_access_token_ends_its_session_when_it_is_revoked(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    tokens = await house.log_in("ann@example.org")
    for _ in range(3):
        await house.client.post("/token/revoke", data={"token": tokens["access_token"]})

    async def out() -> bool:
        return (await house.ask("GET", "/sessions", tokens)).status_code == 401

    await eventually(out, 1)
    problem_of(await house.refresh(tokens["refresh_token"]), 400, "refresh-refused")
    assert await house.pool.fetchval("select count(*) from auth.revocation") == 1


async def test_own_sessions_are_listed_and_ended_one_by_one(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    await house.add("bob@example.org", "viewer")
    first, second = [await house.log_in("ann@example.org") for _ in range(2)]
    other = await house.log_in("bob@example.org")
    page = (await house.ask("GET", "/sessions?limit=1", first)).json()
    rest = (await house.ask("GET", f"/sessions?limit=1&cursor={page['next']}", first)).json()
    assert [one["current"] for one in page["items"] + rest["items"]] == [False, True]
    assert rest["next"] is None
    foreign = claims_of(other["access_token"])["sid"]
    problem_of(await house.ask("DELETE", f"/sessions/{foreign}", first), 404, "not-found")
    gone = await house.ask("DELETE", f"/sessions/{page['items'][0]['id']}", first)
    assert gone.status_code == 204
    problem_of(await house.refresh(second["refresh_token"]), 400, "refresh-refused")
    assert (await house.refresh(first["refresh_token"])).status_code == 200


async def test_what_a_token_is_worth_is_told_to_who_may_ask(house: House) -> None:
    account = await house.add("ann@example.org", "admin")
    tokens = await house.log_in("ann@example.org")

    async def worth(token: str) -> dict[str, Any]:
        answer = await house.ask("POST", "/introspect", tokens, data={"token": token})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    assert (await worth(tokens["access_token"]))["sub"] == str(account)
    assert (await worth(tokens["refresh_token"]))["active"] is True
    assert await worth("nonsense") == {"active": False}
    problem_of(await house.client.post("/introspect", data={"token": "x"}), 401, "unauthenticated")


async def test_tokens_of_the_key_before_are_good_until_they_expire_unless_it_was_given_up(
    house: House, settings: Settings
) -> None:
    await house.add("ann@example.org", "viewer")
    before = await house.log_in("ann@example.org")
    sealer = Sealer(settings.sealing_key())
    kid = await rotate_keys(house.repository, sealer, Actor("test"))

    async def signs() -> dict[str, Any] | None:
        tokens = await house.log_in("ann@example.org")
        return tokens if claims_of(tokens["access_token"], 0)["kid"] == kid else None

    after = await eventually(signs, 5)
    assert len((await house.client.get("/.well-known/jwks.json")).json()["keys"]) == 2
    assert (await house.ask("GET", "/sessions", before)).status_code == 200
    assert (await house.ask("GET", "/sessions", after)).status_code == 200
    await rotate_keys(house.repository, sealer, Actor("test"), give_up=True)

    async def refused() -> bool:
        answers = [await house.ask("GET", "/sessions", one) for one in (before, after)]
        return {one.status_code for one in answers} == {401}

    await eventually(refused, 2)


async def test_revocations_are_told_from_a_place_on_and_a_late_commit_is_not_missed(house: House) -> None:
    await house.add("ann@example.org", "admin")
    tokens = await house.log_in("ann@example.org")

    async def since(place: str | None, **more: Any) -> dict[str, Any]:
        asked = {**more, **({} if place is None else {"since": place})}
        answer = await house.ask("GET", "/revocations", tokens, params=asked)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def write(repository: Any, subject: str) -> None:
        await repository.insert_revocation("token", subject, None, 60)

    await write(house.repository, "one")
    start = await since(None)
    assert [one["subject"] for one in start["items"]] == ["one"]
    async with house.repository.transaction() as late:
        await write(late, "late")
        await write(house.repository, "two")
        told = await since(start["next"])
        assert "two" in {one["subject"] for one in told["items"]}
    assert "late" in {one["subject"] for one in (await since(told["next"]))["items"]}
    async with house.repository.transaction() as tx:
        for number in range(10):
            await write(tx, f"many {number}")
    found, place, more = set(), start["next"], True
    while more:
        page = await since(place, limit=3)
        found |= {one["subject"] for one in page["items"]}
        place, more = page["next"], page["more"]
    assert found >= {"two", "late", *(f"many {number}" for number in range(10))}
    problem_of(await house.ask("GET", "/revocations?since=x", tokens), 422, "malformed")


async def test_a_stranger_cannot_make_auth_read_more_than_a_form(house: House) -> None:
    answer = await house.try_login("ann@example.org", "x" * 100_000)
    problem_of(answer, 413, "content-too-large")
    answer = await house.try_login("ann@example.org", "x" * 2000)
    problem_of(answer, 400, "grant-malformed")
    assert "x" * 20 not in answer.text


async def test_a_login_as_swagger_and_oauth_clients_send_it_is_taken(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    form = {"grant_type": "password", "username": "ann@example.org", "password": PASSWORD, "scope": ""}
    answer = await house.client.post("/token", data={**form, "client_id": "", "client_secret": ""})
    assert answer.status_code == 200
    answer = await house.client.post("/token", data=form, auth=("some-client", "secret"))
    assert answer.status_code == 200
    problem_of(await house.client.post("/token", data={**form, "grant_type": "implicit"}), 400, "grant-refused")
