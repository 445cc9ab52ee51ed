"""The first start: a link that is told once makes the first administrator, once."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nms.auth import worker
from nms.auth.claim import Claim, ClaimRepository
from nms.auth.claims import check_claim, open_claim, tell_claim
from nms.auth.main import create_app
from nms.auth.problems import ClaimClosed
from nms.common.settings import Settings
from tests.service.role_process import running
from tests.service.web_client import client_of, problem_of
from tests.waiting import eventually

ADA = {"email": "ada@example.org", "password": "four words by chance"}
JSON = {"Accept": "application/json"}


@pytest.fixture
async def repository(settings: Settings) -> ClaimRepository:
    return await ClaimRepository.open()


@pytest.fixture
async def claim(repository: ClaimRepository, settings: Settings) -> Claim:
    claim = await open_claim(repository, settings)
    assert claim is not None
    return claim


@pytest.fixture
async def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("AUTH_WORKER", "false")
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def admins(repository: ClaimRepository) -> list[str]:
    rows = await repository.connection.fetch(
        "select a.email from auth.account a join auth.account_role r on r.account_id = a.id where r.role = 'admin'"
    )
    return [row["email"] for row in rows]


def token_in(page: str) -> str:
    found = re.search(r'name="token" value="([^"]*)"', page)
    assert found is not None, page
    return found[1]


async def test_the_form_makes_the_first_administrator_who_can_log_in(
    client: httpx2.AsyncClient, claim: Claim, repository: ClaimRepository
) -> None:
    page = await client.get(claim.link(""))
    assert page.status_code == 200
    done = await client.post("/claim", data={**ADA, "again": ADA["password"], "token": token_in(page.text)})
    assert done.status_code == 201
    assert "What to do next" in done.text
    assert await admins(repository) == [ADA["email"]]
    login = await client.post("/token", data={"username": ADA["email"], "password": ADA["password"]})
    assert login.json()["scope"] == "*"
    audit = await client.get("/audit", headers={"Authorization": f"Bearer {login.json()['access_token']}"})
    actions = {each["action"]: each for each in audit.json()["items"]}
    assert actions.keys() == {"claim.use", "user.create", "session.open"}
    assert claim.token not in audit.text


async def test_the_page_has_no_script_is_not_kept_and_tells_nobody_where_it_came_from(
    client: httpx2.AsyncClient, claim: Claim
) -> None:
    page = await client.get(claim.link(""))
    assert "<script" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    labels = set(re.findall(r'<label for="(\w+)"', page.text))
    assert labels == {"email", "password", "again"} == set(re.findall(r'<input id="(\w+)"', page.text))


async def test_a_mistake_in_the_form_is_told_in_the_form_and_the_link_stays_good(
    client: httpx2.AsyncClient, claim: Claim, repository: ClaimRepository
) -> None:
    mistakes = {
        "not the same": {"again": "four words by mistake"},
        "common password": {"password": "password1234", "again": "password1234"},
        "no e-mail address": {"email": "ada{0}@"},
        "every field": {"password": ""},
    }
    for sentence, mistake in mistakes.items():
        sent = {**ADA, "again": ADA["password"], **mistake, "token": claim.token}
        answer = await client.post("/claim", data={key: value for key, value in sent.items() if value})
        assert answer.status_code == 422
        assert sentence in answer.text
        assert token_in(answer.text) == claim.token
        assert ADA["password"] not in answer.text
    assert await admins(repository) == []
    hostile = await client.post("/claim", data={**ADA, "email": '"><b>{x}@', "token": claim.token})
    assert "<b>" not in hostile.text


async def test_of_two_parallel_posts_one_makes_an_administrator(
    client: httpx2.AsyncClient, claim: Claim, repository: ClaimRepository
) -> None:
    bodies = [{**ADA, "email": f"ada-{number}@example.org", "token": claim.token} for number in range(4)]
    answers = await asyncio.gather(*(client.post("/claim", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 410, 410, 410]
    assert len(await admins(repository)) == 1


async def test_json_is_answered_with_json(client: httpx2.AsyncClient, claim: Claim) -> None:
    problem_of(await client.post("/claim", json={**ADA, "token": "x"}), 410, "claim-closed")
    problem_of(
        await client.post("/claim", json={**ADA, "password": "short", "token": claim.token}), 422, "password-refused"
    )
    problem = problem_of(await client.post("/claim", json={"token": claim.token, "email": 5}), 422, "malformed")
    assert {each["pointer"] for each in problem["errors"]} == {"/email", "/password"}
    malformed = {"Content-Type": "application/json"}
    problem_of(await client.post("/claim", content=b"\xff{", headers=malformed), 422, "malformed")
    made = await client.post("/claim", json={**ADA, "token": claim.token})
    assert (made.status_code, made.json()["roles"]) == (201, ["admin"])
    problem_of(await client.post("/claim", json={**ADA, "token": claim.token}), 410, "claim-closed")


async def test_it_is_closed_as_soon_as_somebody_administers_and_for_good(
    client: httpx2.AsyncClient, claim: Claim, repository: ClaimRepository, settings: Settings
) -> None:
    made = await client.post("/claim", json={**ADA, "token": claim.token})
    await repository.connection.execute("delete from auth.account where id = $1", made.json()["id"])
    assert (await client.get(claim.link(""))).status_code == 410
    again = await open_claim(repository, settings)
    assert again is not None
    assert again.token != claim.token
    await repository.connection.execute(
        "with a as (insert into auth.account (email, email_key, password) values ('e', 'e', 'x') returning id)"
        " insert into auth.account_role select id, 'admin' from a"
    )
    page = await client.get(again.link(""))
    assert page.status_code == 410
    assert "nms user create-admin" in page.text
    problem_of(await client.post("/claim", json={**ADA, "token": again.token}), 410, "claim-closed")
    assert await open_claim(repository, settings) is None


async def test_it_is_good_for_a_day_and_a_start_renews_one_that_is_over(
    repository: ClaimRepository, settings: Settings, claim: Claim
) -> None:
    assert await open_claim(repository, settings) == claim
    await repository.connection.execute("update auth.claim set expires_at = expires_at - interval '24 hours'")
    with pytest.raises(ClaimClosed):
        await check_claim(repository, settings, claim.token)
    renewed = await open_claim(repository, settings)
    assert renewed is not None
    assert renewed.token != claim.token
    await check_claim(repository, settings, renewed.token)


async def test_no_other_token_opens_it(repository: ClaimRepository, settings: Settings, claim: Claim) -> None:
    for token in ("", "x", claim.token[:-1], claim.token + "A", claim.token.swapcase(), "\ud800", "\0"):
        with pytest.raises(ClaimClosed):
            await check_claim(repository, settings, token)


async def test_of_processes_that_start_together_one_tells_and_a_restart_tells_again(
    repository: ClaimRepository, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "claim?token=" in record.getMessage()]

    settings = settings.model_copy(update={"auth_url": "https://nms.example/auth/"})
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*(tell_claim(repository, settings) for _ in range(4)))
        assert len(told()) == 1
        await repository.connection.execute("update auth.claim set told_at = told_at - interval '2 min'")
        await tell_claim(repository, settings)
    claim = await open_claim(repository, settings)
    assert claim is not None
    assert len(told()) == 2
    assert all(line.endswith(claim.link("https://nms.example/auth")) for line in told())


async def test_the_role_tells_its_log_and_keeps_queries_out_of_it(
    settings: Settings, tmp_path: Path, auth_database: str
) -> None:
    keys = {"DB_AUTH_DSN": auth_database, "DATA_DIR": str(settings.data_dir)}
    async with running("nms.auth.main:app", tmp_path, environment=keys) as role:

        async def told() -> Any:
            return re.search(r"http://ADDRESS-OF-THE-ROLE-AUTH/claim\?token=([\w-]{43})", role.log)

        token = (await eventually(told))[1]
        async with httpx2.AsyncClient(base_url=role.address) as client:
            assert (await client.get("/claim", params={"token": "leaked-" + token[7:]})).status_code == 410
            assert (await client.get("/claim", params={"token": token})).status_code == 200
        await role.stop()
    assert "GET /claim 410" in role.log
    assert "leaked-" not in role.log
    assert role.log.count(token) == 1


async def test_while_the_database_is_away_the_role_waits_to_tell(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "GREET_SECONDS", 0.05)
    repository = await ClaimRepository.open()
    await repository.connection.execute("alter schema auth rename to away")
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run_worker(settings, stop))

    async def said(text: str) -> bool:
        return any(text in record.getMessage() for record in caplog.records)

    await eventually(lambda: said("cannot be told yet"))
    await repository.connection.execute("alter schema away rename to auth")
    await eventually(lambda: said("claim?token="))
    stop.set()
    await working
