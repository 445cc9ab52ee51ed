"""Users over HTTP: one account an address, and what follows for tokens and sessions when one changes."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.service.signing import PASSWORD, House
from tests.service.web_client import problem_of
from tests.waiting import eventually

ADA = {"email": "Ada@example.org", "name": "Ada Lovelace", "roles": ["viewer"], "password": "four words by chance"}
Tokens = Mapping[str, Any]


@pytest.fixture
async def admin(house: House) -> Tokens:
    await house.add("root@example.org", "admin")
    return await house.log_in("root@example.org")


async def create(house: House, admin: Tokens, **parts: Any) -> dict[str, Any]:
    answer = await house.ask("POST", "/users", admin, json=ADA | parts)
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()
    return user


async def change(house: House, admin: Tokens, user: Mapping[str, Any], **parts: Any) -> httpx2.Response:
    return await house.ask("PATCH", f"/users/{user['id']}", admin, json=parts)


async def refused(house: House, tokens: Tokens) -> None:
    """Wait until an access token is good for nothing."""

    async def look() -> bool:
        return (await house.ask("GET", "/me", tokens)).status_code == 401

    await eventually(look, 2)


async def test_a_user_is_created_read_and_can_log_in(house: House, admin: Tokens) -> None:
    answer = await house.ask("POST", "/users", admin, json=ADA)
    user = answer.json()
    assert answer.headers["location"] == f"users/{user['id']}"
    assert (user["email"], user["roles"], user["disabled"], user["revision"]) == (ADA["email"], ["viewer"], False, 1)
    assert "password" not in user
    tokens = await house.log_in("ADA@example.ORG", ADA["password"])  # type: ignore[arg-type]
    read = (await house.ask("GET", f"/users/{user['id']}", admin)).json()
    assert read["last_login_at"] is not None
    me = (await house.ask("GET", "/me", tokens)).json()
    assert me["id"] == user["id"]
    assert set(me["scopes"]) >= {"me:read", "me:write", "pipelines:read"}
    stored = await house.pool.fetchval("select password from auth.account where email_key = 'ada@example.org'")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_however_an_address_is_spelled_it_is_one_user(house: House, admin: Tokens) -> None:
    answers = await asyncio.gather(*(house.ask("POST", "/users", admin, json=ADA) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    for email in ("ada@EXAMPLE.org", "\uff21DA@example.org", "ada@example\u3002org"):
        problem_of(await house.ask("POST", "/users", admin, json=ADA | {"email": email}), 409, "duplicate")


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"email": "ada"}, "malformed", "/email"),
    ({"email": None}, "malformed", "/email"),
    ({"password": "password1234"}, "password-refused", "/password"),
    ({"password": "ada@example.ORG"}, "password-refused", "/password"),
    ({"password": "secret-x" * 200}, "malformed", "/password"),
    ({"roles": ["nobody"]}, "malformed", "/roles"),
    ({"roles": ["No Role"]}, "malformed", "/roles/0"),
    ({"name": "a\u0000b"}, "malformed", "/name"),
    ({"name": "\u202egnp.exe"}, "malformed", "/name"),
    ({"name": "\u009b31m"}, "malformed", "/name"),
    ({"surname": "x"}, "malformed", "/surname"),
]


async def test_a_fault_is_told_by_its_pointer_and_never_shows_the_password(house: House, admin: Tokens) -> None:
    for parts, code, pointer in FAULTS:
        answer = await house.ask("POST", "/users", admin, json=ADA | parts)
        assert [each["pointer"] for each in problem_of(answer, 422, code)["errors"]] == [pointer]
        assert str((ADA | parts)["password"]) not in answer.text


async def test_users_come_in_pages_and_by_what_is_looked_for(house: House, admin: Tokens) -> None:
    for number in range(5):
        await house.add(f"u{number}@example.org", "viewer", *(["operator"] if number == 3 else []))
    found, address = [], "/users?limit=2"
    while address:
        page = (await house.ask("GET", address, admin)).json()
        found += [each["email"] for each in page["items"]]
        address = f"/users?limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == ["root@example.org", *(f"u{number}@example.org" for number in range(5))]
    last = (await house.ask("GET", "/users?email=U3@Example.org", admin)).json()["items"][0]
    await change(house, admin, last, disabled=True)
    for query, emails in (
        ("email=U3@EXAMPLE.ORG", ["u3@example.org"]),
        ("email=nobody", []),
        ("role=operator", ["u3@example.org"]),
        ("role=admin", ["root@example.org"]),
        ("disabled=true", ["u3@example.org"]),
        ("disabled=false&role=operator", []),
    ):
        page = (await house.ask("GET", f"/users?{query}", admin)).json()
        assert [each["email"] for each in page["items"]] == emails


async def test_what_changes_nothing_leaves_the_revision_and_the_tokens(house: House, admin: Tokens) -> None:
    user = await create(house, admin, roles=["viewer", "operator"])
    same = (await change(house, admin, user, name=ADA["name"], roles=["viewer", "operator", "viewer"])).json()
    assert same == user
    named = (await change(house, admin, user, name="Augusta Ada", revision=1)).json()
    assert (named["name"], named["revision"]) == ("Augusta Ada", 2)
    assert await house.pool.fetchval("select count(*) from auth.revocation") == 0
    moved = problem_of(await change(house, admin, user, name="Other", revision=1), 409, "user-moved")
    assert moved["revision"] == 2


async def test_new_roles_refuse_old_tokens_and_a_refresh_gives_the_new_scopes(house: House, admin: Tokens) -> None:
    user = await create(house, admin)
    tokens = await house.log_in("ada@example.org", "four words by chance")
    await change(house, admin, user, roles=["operator"])
    await refused(house, tokens)
    again = (await house.refresh(tokens["refresh_token"])).json()
    assert "pipelines:write" in again["scope"].split()
    assert (await house.ask("GET", "/me", again)).json()["roles"] == ["operator"]
    (line,) = await house.audited("user.grant")
    assert line["facts"] == {"added": ["operator"], "removed": ["viewer"]}


async def test_disabling_ends_all_sessions_until_new_logins_after_enabling(house: House, admin: Tokens) -> None:
    user = await create(house, admin)
    await check_out(house, admin, user, disabled=True)
    await change(house, admin, user, disabled=False)
    await house.log_in("ada@example.org", "four words by chance")


async def test_a_new_password_by_an_administrator_ends_all_sessions(house: House, admin: Tokens) -> None:
    user = await create(house, admin)
    await check_out(house, admin, user, password="five other words instead")
    await house.log_in("ada@example.org", "five other words instead")


async def check_out(house: House, admin: Tokens, user: Mapping[str, Any], **parts: Any) -> None:
    """Make a change that ends what was opened before."""
    logins = [await house.log_in("ada@example.org", "four words by chance") for _ in range(2)]
    assert (await change(house, admin, user, **parts)).status_code == 200
    for tokens in logins:
        await refused(house, tokens)
        problem_of(await house.refresh(tokens["refresh_token"]), 400, "refresh-refused")
    assert (await house.try_login("ada@example.org", "four words by chance")).status_code == 400


async def test_a_deleted_user_is_gone_with_tokens_and_sessions_and_stays_in_the_audit(
    house: House, admin: Tokens
) -> None:
    user = await create(house, admin)
    tokens = await house.log_in("ada@example.org", "four words by chance")
    assert (await house.ask("DELETE", f"/users/{user['id']}", admin)).status_code == 204
    await refused(house, tokens)
    problem_of(await house.refresh(tokens["refresh_token"]), 400, "refresh-refused")
    problem_of(await house.ask("GET", f"/users/{user['id']}", admin), 404, "not-found")
    problem_of(await house.ask("DELETE", f"/users/{user['id']}", admin), 404, "not-found")
    # A login that is under way gets a session that nobody has ended: its tokens are refused by the account's name.
    assert await house.pool.fetchval("select revision from auth.revocation where subject = $1", user["id"]) == 2
    (line,) = await house.audited("user.delete")
    assert (line["subject"], line["facts"]["email"]) == (user["id"], ADA["email"])


async def test_the_last_administrator_stays_one(house: House, admin: Tokens) -> None:
    (root,) = (await house.ask("GET", "/users", admin)).json()["items"]
    closed = await create(house, admin, roles=["admin"])
    await change(house, admin, closed, disabled=True)
    for parts in ({"disabled": True}, {"roles": ["operator"]}, None):
        method = "DELETE" if parts is None else "PATCH"
        problem_of(await house.ask(method, f"/users/{root['id']}", admin, json=parts), 409, "last-admin")
    assert (await house.ask("GET", f"/users/{root['id']}", admin)).json() == root
    await change(house, admin, closed, disabled=False)
    assert (await house.ask("DELETE", f"/users/{root['id']}", admin)).is_success


async def test_of_administrators_who_go_at_once_one_stays(house: House, admin: Tokens) -> None:
    ids = [str(await house.add(f"admin{number}@example.org", "admin")) for number in range(5)]
    ids.append((await house.ask("GET", "/me", admin)).json()["id"])
    ways = [("PATCH", {"disabled": True}), ("PATCH", {"roles": ["admin"], "disabled": True}), ("DELETE", None)]
    requests = [house.ask(*ways[n % 3][:1], f"/users/{one}", admin, json=ways[n % 3][1]) for n, one in enumerate(ids)]
    answers = await asyncio.gather(*requests)
    assert sorted(answer.is_success for answer in answers) == [False] + [True] * 5
    (problem,) = [answer for answer in answers if not answer.is_success]
    problem_of(problem, 409, "last-admin")


async def test_nobody_gives_or_takes_more_than_he_holds(house: House, admin: Tokens) -> None:
    looking = [f"{what}:read" for what in ("users", "config", "pipelines", "quarantine", "tasks", "events", "entities")]
    scopes = [*looking, "users:write", "me:*"]
    await house.ask("POST", "/roles", admin, json={"name": "clerk", "scopes": scopes})
    await house.add("clerk@example.org", "clerk")
    clerk = await house.log_in("clerk@example.org")
    root = (await house.ask("GET", "/users?role=admin", admin)).json()["items"][0]
    user = await create(house, clerk)
    for method, path, body in (
        ("POST", "/users", ADA | {"email": "eve@example.org", "roles": ["admin"]}),
        ("PATCH", f"/users/{user['id']}", {"roles": ["operator"]}),
        ("PATCH", f"/users/{root['id']}", {"password": "a password for a takeover"}),
        ("PATCH", f"/users/{root['id']}", {"roles": []}),
        ("PATCH", f"/users/{root['id']}", {"disabled": True}),
        ("DELETE", f"/users/{root['id']}", None),
    ):
        problem = problem_of(await house.ask(method, path, clerk, json=body), 403, "grant-exceeded")
        assert problem["scopes"]
    await house.log_in("root@example.org", PASSWORD)
    lines = await house.pool.fetch("select action from auth.audit where outcome = 'refused' order by id")
    assert [line["action"] for line in lines] == ["user.create"] + ["user.change"] * 4 + ["user.delete"]


async def test_every_change_is_noted_with_who_and_where_and_told_as_an_event(house: House, admin: Tokens) -> None:
    root = (await house.ask("GET", "/me", admin)).json()
    user = await create(house, admin)
    await change(house, admin, user, name="Ada", disabled=True, password="five other words instead")
    await change(house, admin, user, disabled=False)
    await house.ask("DELETE", f"/users/{user['id']}", admin)
    lines = await house.pool.fetch("select * from auth.audit where action like 'user.%' order by id")
    actions = ["create", "change", "password", "disable", "enable", "delete"]
    assert [line["action"] for line in lines] == [f"user.{action}" for action in actions]
    assert {(line["actor"], line["address"], line["subject"]) for line in lines} == {
        (root["id"], "127.0.0.1", user["id"])
    }
    assert "five other words" not in str([dict(line) for line in lines])
    events = await house.pool.fetch(
        "select type, payload, key from common.outbox where type like 'auth.user.%' order by id"
    )
    kinds = ["created", "changed", "disabled", "changed", "deleted"]
    assert [event["type"] for event in events] == [f"auth.user.{kind}" for kind in kinds]
    assert {event["key"] for event in events} == {user["id"]}
    assert events[1]["payload"]["fields"] == ["disabled", "name", "password"]


async def test_scopes_are_asked_for(house: House, admin: Tokens) -> None:
    await house.add("viewer@example.org", "viewer")
    viewer = await house.log_in("viewer@example.org")
    other = uuid4()
    for method, path in (("GET", "/users"), ("GET", f"/users/{other}"), ("GET", "/roles"), ("GET", "/roles/admin")):
        problem_of(await house.ask(method, path, viewer), 403, "scope-missing")
    problem_of(await house.ask("POST", "/users", viewer, json=ADA), 403, "scope-missing")
    problem_of(await house.ask("PATCH", f"/users/{other}", viewer, json={}), 403, "scope-missing")
    problem_of(await house.ask("DELETE", f"/users/{other}", viewer), 403, "scope-missing")
