"""The web factory: how errors leave, who is let in, how pages and documents look."""

import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel

from nms.common import log, web
from nms.common.guard import Caller, requires
from nms.common.paging import LARGEST_LIMIT, Page, Paging
from nms.common.problem import Problem, Retry
from nms.common.router import Router, UnguardedRoute
from nms.common.settings import RoleSettings, Settings
from nms.common.token import mint_token
from tests.service.web_client import PASSWORD, SECRET, client_of, problem_of, settings_in

NAMES = [f"p{number:03}" for number in range(250)]


class Address(BaseModel):
    street: str
    number: int


class Customer(BaseModel):
    name: str
    addresses: list[Address] = []


class Busy(Problem):
    """For these tests."""

    status, code, retry, title = 503, "busy", Retry.LATER, "Busy"


router = Router(prefix="/customers", tags=["customers"])


@router.get("", dependencies=[requires("customers:read")])
async def list_customers(paging: Paging, kind: str = "all") -> Page[str]:
    after = paging.after[0] if paging.after else ""
    rows: Sequence[str] = [name for name in NAMES if name > after][: paging.size]
    return paging.page(rows, key=lambda name: [name], show=lambda name: f"{kind} {name}")


@router.post("", status_code=201)
async def create_customer(customer: Customer, caller: Caller = requires("customers:write")) -> dict[str, str]:
    return {"name": customer.name, "by": caller.subject}


@router.delete("", dependencies=[requires("customers:write")])
async def delete_customers() -> None: ...


@router.get("/{number}", dependencies=[requires("customers:read")])
async def get_customer(number: Annotated[int, PathParameter(le=9)], request: Request) -> dict[str, str]:
    if number == 1:
        raise RuntimeError(f"select * from /srv/secret where password = '{PASSWORD}' -- {SECRET}")
    if number == 2:
        raise Busy(f"The pool of postgresql://nms:{PASSWORD}@db/nms is full.", retry_after=7)
    return {"id": str(log.fact("request_id")), "agent": request.headers.get("user-agent", "")}


ROLE = web.Role(name="demo", summary="A demonstration", description="For tests.", routers=[router], largest_body=1000)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return web.create_app(ROLE, settings, RoleSettings())


@pytest.fixture
async def client(app: FastAPI, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app, mint_token(settings, ["customers:*"], subject="ann")) as client:
        yield client


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def test_an_unknown_path_is_a_problem(client: httpx2.AsyncClient) -> None:
    problem_of(await client.get("/nope"), 404, "not-found")
    problem_of(await client.get("/customers/"), 404, "not-found")


async def test_a_wrong_method_is_a_problem_that_names_every_right_one(client: httpx2.AsyncClient) -> None:
    answer = await client.patch("/customers")
    problem_of(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST, DELETE"


async def test_each_malformed_field_has_a_pointer_and_no_input_comes_back(client: httpx2.AsyncClient) -> None:
    wrong = {"addresses": [{"street": "a", "number": 1}, {"street": "b", "number": "s3cret"}]}
    body = problem_of(await client.post("/customers", json=wrong), 422, "malformed")
    assert {item["pointer"] for item in body["errors"]} == {"/name", "/addresses/1/number"}
    assert "s3cret" not in json.dumps(body)


async def test_a_pointer_says_when_it_is_not_about_the_body(client: httpx2.AsyncClient) -> None:
    body = problem_of(await client.get("/customers/77"), 422, "malformed")
    assert [(item["in"], item["pointer"]) for item in body["errors"]] == [("path", "/number")]


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[" * 900])
async def test_a_body_that_is_no_json_is_a_problem(client: httpx2.AsyncClient, content: bytes) -> None:
    answer = await client.post("/customers", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_over_the_limit_is_refused_by_what_it_announces(client: httpx2.AsyncClient) -> None:
    body = problem_of(await client.post("/customers", content=b" " * 1001), 413, "content-too-large")
    assert body["limit"] == 1000


async def test_a_body_over_the_limit_is_refused_by_what_comes(client: httpx2.AsyncClient) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    problem_of(await client.post("/customers", content=drip()), 413, "content-too-large")


async def test_an_unforeseen_error_tells_nothing_and_is_logged_with_its_request(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "nms"):
        answer = await client.get("/customers/1", headers={"X-Request-ID": "from-the-caller"})
    body = problem_of(answer, 500, "internal")
    assert body["request_id"] == "from-the-caller"
    for leak in ("select", "RuntimeError", "/srv", "Traceback", PASSWORD, SECRET, "test_web"):
        assert leak not in answer.text
    (record,) = [record for record in caplog.records if record.exc_info]
    with log.bound(request_id="from-the-caller"):
        line = log.JsonFormatter().format(record)
    assert "RuntimeError" in line
    assert PASSWORD not in line
    assert SECRET not in line


async def test_a_problem_is_redacted_by_value_and_says_when_to_come_again(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/customers/2")
    assert problem_of(answer, 503, "busy")["retry"] == "later"
    assert answer.headers["retry-after"] == "7"
    assert PASSWORD not in answer.text


async def test_a_request_id_of_a_harmful_form_is_replaced(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/customers/3", headers={"X-Request-ID": 'a" onload="b'})
    assert answer.json()["id"] == answer.headers["x-request-id"] != 'a" onload="b'


async def test_the_access_log_and_the_metrics_never_hold_what_a_client_chose(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "nms"):
        await client.get("/customers/3?token=s3cret-in-query")
        await client.request("BREW", "/no/such/s3cret-path")
        text = (await client.get("/metrics")).text
    assert "s3cret-in-query" not in caplog.text
    assert 'nms_http_requests_total{method="GET",role="demo",route="/customers/{number}",status="200"}' in text
    assert 'method="OTHER",role="demo",route="(none)",status="404"' in text
    assert "s3cret" not in text


async def test_without_a_token_the_answer_is_401_and_says_how(stranger: httpx2.AsyncClient) -> None:
    answer = await stranger.get("/customers")
    problem_of(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="nms"'


@pytest.mark.parametrize("given", ["Bearer nonsense", "Basic YTpi", "Bearer", "bearer  ", "Bearer \xe4", "x" * 9000])
async def test_a_malformed_token_is_401_never_500(stranger: httpx2.AsyncClient, given: str) -> None:
    answer = await stranger.get("/customers", headers={b"Authorization": given.encode("latin-1")})
    problem_of(answer, 401, "token-refused")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_two_authorization_headers_are_refused(client: httpx2.AsyncClient) -> None:
    mine = client.headers["authorization"]
    headers = [("Authorization", mine), ("Authorization", "Bearer other")]
    problem_of(await client.get("/customers", headers=headers), 401, "token-refused")


async def test_a_token_without_the_scope_is_403_and_names_it(app: FastAPI, settings: Settings) -> None:
    async with client_of(app, mint_token(settings, ["customers:read"], subject="ann")) as reader:
        assert (await reader.get("/customers")).status_code == 200
        answer = await reader.post("/customers", json={"name": "x"})
    assert problem_of(answer, 403, "scope-missing")["scope"] == "customers:write"
    assert 'error="insufficient_scope", scope="customers:write"' in answer.headers["www-authenticate"]


async def test_scopes_are_checked_before_the_body_is_read(stranger: httpx2.AsyncClient) -> None:
    problem_of(await stranger.post("/customers", json={"wrong": 1}), 401, "unauthenticated")
    read: list[int] = []

    async def drip() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{}"

    problem_of(await stranger.post("/customers", content=drip()), 401, "unauthenticated")
    assert not read


async def test_pages_follow_each_other_to_the_end_by_body_and_link(client: httpx2.AsyncClient) -> None:
    found: list[str] = []
    address = "/customers?kind=small&limit=100"
    while address:
        answer = await client.get(address)
        body = answer.json()
        found += body["items"]
        link = answer.links.get("next", {}).get("url")
        assert (link is None) == (body["next"] is None)
        address = str(answer.url.join(link)) if link else ""
    assert found == [f"small {name}" for name in NAMES]


async def test_an_exactly_full_last_page_has_no_next(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/customers?limit=250")
    assert (len(answer.json()["items"]), answer.json()["next"]) == (250, None)
    assert "link" not in answer.headers


@pytest.mark.parametrize("limit", ["0", "-1", str(LARGEST_LIMIT + 1), "many", "1e9"])
async def test_a_limit_out_of_range_is_refused_not_capped(client: httpx2.AsyncClient, limit: str) -> None:
    body = problem_of(await client.get(f"/customers?limit={limit}"), 422, "malformed")
    assert [(item["in"], item["pointer"]) for item in body["errors"]] == [("query", "/limit")]


async def test_a_cursor_of_another_filter_is_refused(client: httpx2.AsyncClient) -> None:
    cursor = (await client.get("/customers?kind=small&limit=5")).json()["next"]
    assert (await client.get(f"/customers?kind=small&cursor={cursor}")).status_code == 200
    problem_of(await client.get(f"/customers?kind=large&cursor={cursor}"), 422, "cursor-refused")
    problem_of(await client.get("/customers?cursor=nonsense"), 422, "cursor-refused")


async def test_the_document_has_tags_scopes_and_problems_only(stranger: httpx2.AsyncClient) -> None:
    document = (await stranger.get("/openapi.json")).json()
    listing = document["paths"]["/customers"]["get"]
    assert listing["tags"] == ["customers"]
    assert listing["security"] == [{"token": ["customers:read"]}, {"bearer": ["customers:read"]}]
    assert "application/problem+json" in listing["responses"]["default"]["content"]
    assert listing["responses"].keys() == {"200", "401", "403", "422", "503", "default"}
    malformed = listing["responses"]["422"]["content"]["application/problem+json"]
    assert malformed["examples"].keys() == {"malformed", "cursor-refused"}
    ways = document["components"]["securitySchemes"]
    assert ways["bearer"]["scheme"] == "bearer"
    assert "wildcards" in ways["token"]["description"]
    login = ways["token"]["flows"]["password"]
    assert login == {"tokenUrl": "../auth/token", "scopes": {"customers:read": "", "customers:write": ""}}
    assert "HTTPValidationError" not in json.dumps(document)
    assert "examples" in document["components"]["schemas"]["Problem"]
    assert document["paths"]["/healthz"]["get"]["tags"] == ["process"]


async def test_the_reference_page_loads_nothing_from_elsewhere(stranger: httpx2.AsyncClient) -> None:
    page = await stranger.get("/docs")
    assert "//" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert f"docs/{asset}" in page.text
        packed = await stranger.get(f"/docs/{asset}")
        plain = await stranger.get(f"/docs/{asset}", headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == plain.content
    problem_of(await stranger.get("/docs/..%2Fweb.py"), 404, "not-found")


def test_a_role_with_an_unguarded_route_does_not_start(settings: Settings) -> None:
    planted = Router(prefix="/open")

    @planted.get("/door")
    async def walk_in() -> None: ...

    role = web.Role(name="demo", summary="", description="", routers=[router, planted])
    with pytest.raises(UnguardedRoute) as refused:
        web.create_app(role, settings, RoleSettings())
    assert refused.value.routes == ["GET /open/door"]
    public = web.Role(name="demo", summary="", description="", routers=[planted], public=frozenset({"/open/door"}))
    web.create_app(public, settings, RoleSettings())
