"""Logins of a REST API: fixed keys, tokens that are renewed in time, and rotated ones that no crash may double."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nms.common.db.repositories import BaseNmsRepository
from nms.common.document import RestSystem
from nms.common.problem import Problem
from nms.common.seal import SealKeyChanged
from nms.common.settings import get_settings
from nms.connectors.rest.client import Ask, Client
from nms.connectors.rest.problems import RemoteLoginAway, RemoteLoginRefused, TokenLost
from tests.service.rest_systems import refresh_login, run_workers, system_of
from tests.services.hostile.api import HostileApi
from tests.services.hostile.logins import API_KEY, CLIENT_ID, CLIENT_SECRET
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("asking")
THINGS = Ask("GET", "/things")


@pytest.fixture
def api(hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch) -> HostileApi:
    for name, value in {"SECRET": CLIENT_SECRET, "KEY": API_KEY, "WRONG": "wrong", "REFRESH": "refresh-0"}.items():
        monkeypatch.setenv(f"SHOP_{name}", value)
    hostile_api.add("things", count=5, login="bearer")
    return hostile_api


def client_login(api: HostileApi, **more: Any) -> dict[str, Any]:
    token_url = f"{api.url}/oauth/token"
    login = {"type": "oauth2-client", "token_url": token_url, "client_id": CLIENT_ID, **more}
    return {"client_secret": "env://SHOP_SECRET", **login}


def by_client(api: HostileApi, **more: Any) -> RestSystem:
    return system_of(api.url, login=client_login(api, **more))


def by_refresh(api: HostileApi, variable: str = "SHOP_REFRESH") -> RestSystem:
    return system_of(api.url, login=refresh_login(api.url, variable))


async def read(system: RestSystem) -> int:
    async with Client.opened(system) as client:
        return (await client.get(THINGS)).status


@pytest.mark.parametrize(
    ("kind", "login"),
    [
        ("basic", {"type": "basic", "user": CLIENT_ID, "password": "env://SHOP_SECRET"}),
        ("header", {"type": "header", "header": "X-Api-Key", "prefix": "", "key": "env://SHOP_KEY"}),
    ],
)
async def test_fixed_logins_let_in_and_a_wrong_one_is_named(api: HostileApi, kind: Any, login: dict[str, str]) -> None:
    api.configure("things", login=kind)
    assert await read(system_of(api.url, login=login)) == 200
    secret = "key" if kind == "header" else "password"
    with pytest.raises(RemoteLoginRefused):
        await read(system_of(api.url, login={**login, secret: "env://SHOP_WRONG"}))


async def test_a_key_that_was_rotated_in_its_file_is_taken_up(api: HostileApi, tmp_path: Path) -> None:
    api.configure("things", login="header")
    file = tmp_path / "key"
    file.write_text("an old one")
    login = {"type": "header", "header": "X-Api-Key", "prefix": "", "key": f"file://{file}"}
    async with Client.opened(system_of(api.url, login=login)) as client:
        file.write_text(API_KEY)
        assert (await client.get(THINGS)).status == 200
        assert (await client.send(Ask("POST", "/things", body=b"{}"))).status == 201


@pytest.mark.parametrize("send", ["basic", "body"])
async def test_one_token_serves_many_and_is_renewed_once_when_it_is_refused(api: HostileApi, send: str) -> None:
    async with Client.opened(by_client(api, send=send)) as one, Client.opened(by_client(api, send=send)) as other:
        for expected in (1, 2):
            answers = await asyncio.gather(*(client.get(THINGS) for client in (one, other) * 8))
            assert {answer.status for answer in answers} == {200}
            assert api.logins.issued == expected
            api.expire()


async def test_a_token_is_renewed_before_it_is_over(api: HostileApi) -> None:
    api.set_logins(token_seconds=1)
    async with Client.opened(by_client(api)) as client:

        async def renewed_twice() -> bool:
            assert (await client.get(THINGS)).status == 200
            return api.logins.issued == 3

        await eventually(renewed_twice)
    assert {entry.status for entry in api.journal.entries} == {200}


async def test_a_token_that_is_over_after_a_wait_is_renewed_after_it(api: HostileApi) -> None:
    api.plan("429-token-expires", path="/things", times=1)
    async with Client.opened(by_client(api)) as client:
        assert (await client.send(Ask("POST", "/things", body=b"{}"))).status == 201
    assert api.logins.issued == 2
    assert len(list(api.journal.of("things"))) == 1


async def test_a_token_is_taken_after_the_wait_and_not_before_it(api: HostileApi) -> None:
    api.set_logins(token_seconds=1)
    api.plan("429-seconds", path="/things", times=1)
    async with Client.opened(by_client(api)) as client:
        assert (await client.get(THINGS)).status == 200
    assert [entry.status for entry in api.journal.entries] == [200, 429, 200, 200], "a token that is over was not sent"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"client_secret": "env://SHOP_WRONG"}, RemoteLoginRefused),
        ({"token_url": "http://169.254.169.254/token"}, RemoteLoginRefused),
        ({"token_url": "http://127.0.0.1:1/token"}, RemoteLoginAway),
        ({"behaviour": "html"}, RemoteLoginAway),
        ({"behaviour": "502"}, RemoteLoginAway),
        ({"behaviour": "429-ten-days"}, RemoteLoginAway),
        ({"behaviour": "close-after"}, RemoteLoginAway),
    ],
)
async def test_a_write_that_got_no_token_was_not_sent(
    api: HostileApi, more: dict[str, str], problem: type[Problem]
) -> None:
    api.plan(
        *([more.pop("behaviour")] if "behaviour" in more else ["400"]), path="/oauth/token", chance=float(not more)
    )
    async with Client.opened(by_client(api, **more)) as client:
        with pytest.raises(problem):
            await client.send(Ask("POST", "/things", body=b"{}"))
    assert not list(api.journal.of("things"))


async def stored() -> list[dict[str, Any]]:
    repository = await BaseNmsRepository.open()
    return [dict(row) for row in await repository.connection.fetch("delete from sync.token returning *")]


async def test_a_rotated_token_is_kept_sealed_and_used_from_then_on(api: HostileApi) -> None:
    await stored()
    for _ in range(3):
        assert await read(by_refresh(api)) == 200
        api.expire()
    assert (api.logins.issued, api.logins.reused) == (3, 0)
    (row,) = await stored()
    assert not row["renewing"]
    assert b"refresh-" not in row["sealed"]
    assert b"access-" not in row["sealed"]


async def test_an_access_token_that_another_process_got_is_used(api: HostileApi) -> None:
    assert await read(by_refresh(api)) == 200
    assert (await run_workers(by_refresh(api), processes=1, seconds=0.2))[0].isdigit()
    assert api.logins.issued == 1


async def test_processes_that_renew_at_once_keep_the_chain(api: HostileApi) -> None:
    api.set_logins(token_seconds=1)
    told = await run_workers(by_refresh(api), processes=2, seconds=3)
    assert all(one.isdigit() and int(one) > 10 for one in told), told
    assert api.logins.reused == 0
    # A token is used for nine tenths of a second: so many are needed at most, were all processes one.
    assert 3 <= api.logins.issued <= 1.5 * api.journal.entries[-1].at / 0.9 + 3


@pytest.mark.parametrize(("strict", "healed"), [(True, False), (False, True)])
async def test_a_crash_between_the_answer_and_its_commit_is_told(
    api: HostileApi, strict: bool, healed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.set_logins(strict=strict)
    monkeypatch.setenv("NMS_FAULTS", "rest.token_answered=kill")
    assert await run_workers(by_refresh(api), processes=1, seconds=1) == [""]
    if healed:
        # A remote that takes the token before the last one, too, forgives it.
        assert await read(by_refresh(api)) == 200
        return
    with pytest.raises(TokenLost, match="cut off") as lost:
        await read(by_refresh(api))
    assert "set the reference" in lost.value.remedy
    api.set_logins()
    monkeypatch.setenv("SHOP_NEW", "refresh-0")
    with pytest.raises(TokenLost):
        await read(by_refresh(api, "SHOP_WRONG"))
    api.logins._refresh.add("a-new-one")
    monkeypatch.setenv("SHOP_REFRESH", "a-new-one")
    assert await read(by_refresh(api)) == 200


async def test_a_caller_that_goes_away_does_not_cut_a_renewal_off(api: HostileApi) -> None:
    await stored()
    api.plan("late", path="/oauth/token", times=1, options={"seconds": 0.3})
    async with Client.opened(by_refresh(api)) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(THINGS), 0.15)
    assert await read(by_refresh(api)) == 200
    assert (api.logins.issued, api.logins.reused) == (1, 0)
    assert [row["renewing"] for row in await stored()] == [False]


async def test_a_token_of_another_key_is_not_taken_for_none(api: HostileApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await read(by_refresh(api)) == 200
    monkeypatch.setenv("SECRETS_KEY", "another key than the one before it was")
    get_settings.cache_clear()
    with pytest.raises(SealKeyChanged):
        await read(by_refresh(api))
