"""The forms of OAuth: what is refused (RFC 6749 sections 3.1 and 5.2, RFC 7009 section 2.2.1), what is let be."""

from typing import Any

import httpx2
import pytest

from tests.service.signing import House
from tests.service.web_client import problem_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LOGIN = "username=ann%40example.org&password=hunter2"


async def post(house: House, path: str, body: str | bytes, **headers: str) -> httpx2.Response:
    return await house.client.post(path, content=body, headers=FORM | headers)


def malformed(answer: httpx2.Response) -> dict[str, Any]:
    """The problem, in the words of OAuth, and the places that it points at."""
    problem = problem_of(answer, 400, "grant-malformed")
    assert (problem["error"], problem["error_description"]) == ("invalid_request", problem["detail"])
    assert answer.headers["cache-control"] == "no-store"
    assert "hunter2" not in answer.text
    return {one["pointer"]: one["detail"] for one in problem.get("errors", ())}


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("/token", "password=hunter2", ["/username"]),
        ("/token", "username=&password=hunter2", ["/username"]),
        ("/token", "", ["/username", "/password"]),
        ("/token", f"{LOGIN}&password=hunter2", ["/password"]),
        ("/token", f"{LOGIN}&grant_type=password&grant_type=code", ["/grant_type"]),
        ("/token", f"{LOGIN}{'x' * 1024}", ["/password"]),
        ("/token", f"{LOGIN}&scope={'x' * 2001}", ["/scope"]),
        ("/token/refresh", "", ["/refresh_token"]),
        ("/token/refresh", f"refresh_token={'x' * 300}", ["/refresh_token"]),
        ("/token/revoke", "token_type_hint=refresh_token", ["/token"]),
        ("/token/revoke", "token=a&token=b", ["/token"]),
        ("/token/revoke", f"token={'x' * 9000}", ["/token"]),
    ],
)
async def test_a_parameter_that_is_missing_too_long_or_given_twice_is_pointed_at(
    house: House, path: str, body: str, places: list[str]
) -> None:
    assert [*malformed(await post(house, path, body))] == places


@pytest.mark.parametrize("path", ["/token", "/token/refresh", "/token/revoke"])
async def test_what_is_no_form_is_refused_in_the_same_words(house: House, path: str) -> None:
    for body in (b"username=\xff", "username=%ff", "&".join(f"a{n}=1" for n in range(101))):
        assert malformed(await post(house, path, body)) == {}
    malformed(await house.client.post(path, json={"username": "ann@example.org", "password": "hunter2"}))
    malformed(await house.client.post(path, files={"password": b"hunter2"}))
    malformed(await house.client.post(path))


@pytest.mark.parametrize("path", ["/token", "/token/refresh"])
@pytest.mark.parametrize("form", ["grant_type=authorization_code&code=x", f"grant_type={'x' * 50}&{LOGIN}"])
async def test_a_foreign_grant_type_is_told_whatever_else_is_missing(house: House, path: str, form: str) -> None:
    problem = problem_of(await post(house, path, form), 400, "grant-refused")
    assert problem["error"] == "unsupported_grant_type"


async def test_what_swagger_and_oauth_clients_send_besides_is_let_be(house: House) -> None:
    await house.add("ann@example.org", "viewer")
    form = {"username": "ann@example.org", "password": "correct horse battery", "grant_type": "password"}
    besides = {"client_id": "", "client_secret": "", "scope": "", "resource": ["a", "b"]}
    told = {"Authorization": "Basic bm1zOg==", "Content-Type": FORM["Content-Type"].title() + "; charset=UTF-8"}
    answer = await house.client.post("/token", data=form | besides, headers=told)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
    token = answer.json()["refresh_token"]
    again = await house.client.post("/token/refresh", data={"refresh_token": token, "client_id": ""}, headers=told)
    assert (again.status_code, again.headers["cache-control"]) == (200, "no-store"), again.text
    gone = await house.client.post("/token/revoke", data={"token": token, "token_type_hint": ""}, headers=told)
    assert gone.status_code == 200, gone.text


async def test_introspection_refuses_a_form_only_to_those_who_may_ask(house: House) -> None:
    problem_of(await house.client.post("/introspect"), 401, "unauthenticated")
    await house.add("root@example.org", "admin")
    root = await house.log_in("root@example.org")
    assert [*malformed(await house.ask("POST", "/introspect", root, data={"token": ""}))] == ["/token"]
