"""Roles over HTTP: what they may be, and what follows for those who hold them."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.service.signing import House
from tests.service.web_client import problem_of
from tests.waiting import eventually

WATCHER = {"name": "watcher", "description": "Watches.", "scopes": ["pipelines:read", "entities:read:customers"]}
Tokens = Mapping[str, Any]


@pytest.fixture
async def admin(house: House) -> Tokens:
    await house.add("root@example.org", "admin")
    return await house.log_in("root@example.org")


async def test_a_role_is_created_listed_changed_and_deleted(house: House, admin: Tokens) -> None:
    answer = await house.ask("POST", "/roles", admin, json=WATCHER)
    assert (answer.status_code, answer.headers["location"]) == (201, "roles/watcher")
    assert answer.json()["scopes"] == ["entities:read:customers", "pipelines:read"]
    problem_of(await house.ask("POST", "/roles", admin, json=WATCHER), 409, "duplicate")
    found, address = [], "/roles?limit=2"
    while address:
        page = (await house.ask("GET", address, admin)).json()
        found += [each["name"] for each in page["items"]]
        address = f"/roles?limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == ["admin", "operator", "viewer", "watcher"]
    body = {"description": "Watches all.", "scopes": ["pipelines:*", "pipelines:*"]}
    assert (await house.ask("PUT", "/roles/watcher", admin, json=body)).json()["scopes"] == ["pipelines:*"]
    assert (await house.ask("GET", "/roles/watcher", admin)).json()["description"] == "Watches all."
    assert (await house.ask("DELETE", "/roles/watcher", admin)).status_code == 204
    for method, sent in (("GET", None), ("DELETE", None), ("PUT", body)):
        problem_of(await house.ask(method, "/roles/watcher", admin, json=sent), 404, "not-found")
    lines = await house.pool.fetch("select action from auth.audit where action like 'role.%' order by id")
    assert [line["action"] for line in lines] == ["role.create", "role.change", "role.delete"]
    events = await house.pool.fetch("select payload from common.outbox where type = 'auth.role.changed' order by id")
    assert [event["payload"]["gone"] for event in events] == [False, False, True]


async def test_a_built_in_role_stays_as_it_is(house: House, admin: Tokens) -> None:
    before = (await house.ask("GET", "/roles", admin)).json()
    assert [(each["name"], each["built_in"]) for each in before["items"]] == [
        ("admin", True),
        ("operator", True),
        ("viewer", True),
    ]
    for name in ("admin", "operator", "viewer"):
        body = {"scopes": ["pipelines:read"]}
        problem_of(await house.ask("PUT", f"/roles/{name}", admin, json=body), 409, "role-built-in")
        problem_of(await house.ask("DELETE", f"/roles/{name}", admin), 409, "role-built-in")
    assert (await house.ask("GET", "/roles", admin)).json() == before


async def test_a_role_that_is_held_cannot_go(house: House, admin: Tokens) -> None:
    await house.ask("POST", "/roles", admin, json=WATCHER)
    await house.add("ann@example.org", "watcher")
    problem_of(await house.ask("DELETE", "/roles/watcher", admin), 409, "role-held")
    (ann,) = (await house.ask("GET", "/users?role=watcher", admin)).json()["items"]
    await house.ask("PATCH", f"/users/{ann['id']}", admin, json={"roles": []})
    assert (await house.ask("DELETE", "/roles/watcher", admin)).status_code == 204


async def test_other_scopes_refuse_the_tokens_of_all_who_hold_the_role_and_of_nobody_else(
    house: House, admin: Tokens
) -> None:
    await house.ask("POST", "/roles", admin, json=WATCHER)
    for name in ("ann", "bob"):
        await house.add(f"{name}@example.org", "watcher", "viewer")
    await house.add("cyd@example.org", "viewer")
    ann, bob, cyd = [await house.log_in(f"{name}@example.org") for name in ("ann", "bob", "cyd")]
    body = {"description": "Other words.", "scopes": WATCHER["scopes"]}
    assert (await house.ask("PUT", "/roles/watcher", admin, json=body)).status_code == 200
    assert await house.pool.fetchval("select count(*) from auth.revocation") == 0
    await house.ask("PUT", "/roles/watcher", admin, json={"scopes": ["pipelines:write"]})

    async def are_out() -> bool:
        return [(await house.ask("GET", "/me", one)).status_code for one in (ann, bob)] == [401, 401]

    await eventually(are_out, 2)
    assert (await house.ask("GET", "/me", cyd)).status_code == 200
    assert await house.pool.fetchval("select count(*) from auth.revocation") == 2
    again = (await house.refresh(ann["refresh_token"])).json()
    assert "pipelines:write" in again["scope"].split()
    assert "entities:read:customers" not in again["scope"].split()
    assert (await house.ask("GET", "/me", again)).status_code == 200


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"scopes": ["pipelines:read", "everything"]}, "/scopes/1"),
    ({"scopes": ["*:read"]}, "/scopes/0"),
    ({"scopes": ["pipelines"]}, "/scopes/0"),
    ({"scopes": ["a:b:c:d"]}, "/scopes/0"),
    ({"scopes": [f"noun{number}:read:{'x' * 90}" for number in range(50)]}, "/scopes"),
    ({"scopes": None}, "/scopes"),
    ({"name": "No Name"}, "/name"),
    ({"other": 1}, "/other"),
]


async def test_a_fault_is_told_by_its_pointer(house: House, admin: Tokens) -> None:
    for parts, pointer in FAULTS:
        answer = await house.ask("POST", "/roles", admin, json=WATCHER | parts)
        assert [each["pointer"] for each in problem_of(answer, 422, "malformed")["errors"]] == [pointer]


async def test_no_account_gets_more_scopes_than_a_token_can_carry(house: House, admin: Tokens) -> None:
    for name in ("one", "two"):
        scopes = [f"{name}{number}:read:{'x' * 80}" for number in range(25)]
        assert (await house.ask("POST", "/roles", admin, json={"name": name, "scopes": scopes})).status_code == 201
    ann = {"id": str(await house.add("ann@example.org", "one"))}
    answer = await house.ask("PATCH", f"/users/{ann['id']}", admin, json={"roles": ["one", "two"]})
    assert problem_of(answer, 422, "malformed")["errors"][0]["pointer"] == "/roles"
    await house.ask("POST", "/roles", admin, json={"name": "three", "scopes": ["a:b"]})
    await house.ask("PATCH", f"/users/{ann['id']}", admin, json={"roles": ["one", "three"]})
    scopes = [f"three{number}:read:{'x' * 80}" for number in range(25)]
    answer = await house.ask("PUT", "/roles/three", admin, json={"scopes": scopes})
    assert problem_of(answer, 422, "malformed")["errors"][0]["pointer"] == "/scopes"
    assert (await house.ask("GET", "/roles/three", admin)).json()["scopes"] == ["a:b"]


async def test_nobody_makes_a_role_of_more_than_he_holds(house: House, admin: Tokens) -> None:
    await house.ask("POST", "/roles", admin, json={"name": "clerk", "scopes": ["roles:*", "pipelines:*"]})
    await house.ask("POST", "/roles", admin, json={"name": "strong", "scopes": ["config:write"]})
    await house.add("clerk@example.org", "clerk")
    clerk = await house.log_in("clerk@example.org")
    assert (await house.ask("POST", "/roles", clerk, json=WATCHER)).status_code == 403
    for method, path, body in (
        ("POST", "/roles", {"name": "mine", "scopes": ["*"]}),
        ("PUT", "/roles/clerk", {"scopes": ["users:write"]}),
        ("PUT", "/roles/strong", {"scopes": ["pipelines:read"]}),
        ("DELETE", "/roles/strong", None),
    ):
        problem_of(await house.ask(method, path, clerk, json=body), 403, "grant-exceeded")
    weaker = {"name": "mine", "scopes": ["pipelines:read", "pipelines:read:crm", "roles:write"]}
    assert (await house.ask("POST", "/roles", clerk, json=weaker)).status_code == 201
