"""Probes of systems: in the words of the doctor, within EGRESS_ALLOW, telling no more than an operator needs."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from nms.cfg.main import create_app
from nms.cli.main import app
from nms.common.egress.address import parse_allowance
from nms.common.egress.confined import is_reachable, run_confined
from nms.common.egress.problems import EgressRefused
from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from tests.service.remote import answering, listening, saying
from tests.service.stage import without_password
from tests.service.web_client import client_of, problem_of

EVERYTHING = [parse_allowance("0.0.0.0/0"), parse_allowance("::/0")]
SECONDS = 1.5
BLOCKED = (
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "fe80::1%1",
    "fd00:ec2::254",
)


@pytest.fixture
async def client(outbound: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    # What answers must be in time on a busy machine, too.
    monkeypatch.setenv("CFG_PROBE_SECONDS", "60")
    token = mint_token(outbound, ["config:read", "config:write", "systems:probe", "audit:read"], subject="ada")
    async with client_of(create_app(outbound), token) as client:
        yield client


def systems_at(port: int, host: str = "127.0.0.1") -> list[dict[str, Any]]:
    """A system of each type at one place."""
    place = f"{host}:{port}"
    things = {"path": "/things", "key": ["id"]}
    return [
        {"kind": "system", "name": "postgres", "type": "postgres", "dsn": f"postgresql://nms@{place}/crm"},
        {"kind": "system", "name": "amqp", "type": "amqp", "dsn": f"amqp://nms@{place}/%2F"},
        {"kind": "system", "name": "kafka", "type": "kafka", "servers": [place]},
        {"kind": "system", "name": "rest", "type": "rest", "url": f"http://{place}", "resources": {"things": things}},
    ]


async def apply(client: httpx2.AsyncClient, *documents: dict[str, Any]) -> None:
    answer = await client.put("/changesets", json={"documents": list(documents)})
    assert answer.status_code == 200, answer.text


async def probe(client: httpx2.AsyncClient, name: str) -> list[dict[str, Any]]:
    answer = await client.post(f"/systems/{name}/probe")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["system"] == name
    assert body["fit"] == (not any(one["fatal"] for one in body["findings"]))
    found: list[dict[str, Any]] = body["findings"]
    return found


async def test_a_database_is_told_in_the_words_of_the_doctor(
    client: httpx2.AsyncClient, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = without_password(database)
    monkeypatch.setenv("CRM_PASSWORD", "anything")
    crm = {"kind": "system", "name": "crm", "type": "postgres", "dsn": dsn, "password": "env://CRM_PASSWORD"}
    await apply(client, crm)
    assert await probe(client, "crm") == []
    there, missing = {"source": "cfg.revision"}, {"source": "public.nothing"}
    erp = {**crm, "name": "erp", "dsn": dsn.replace("127.0.0.1", "localhost")}
    flow = {"kind": "pipeline", "name": "flow", "source": "crm", "target": "erp", "datasets": [there, missing]}
    await apply(client, erp, flow)
    found = await probe(client, "crm")
    assert [(one["code"], one["pipeline"], one["pointer"]) for one in found if one["fatal"]] == [
        ("table-missing", "flow", "/datasets/1/source")
    ]
    codes = {one["code"]: one for one in await probe(client, "erp")}
    assert codes.keys() >= {"schema-missing", "table-missing"}
    assert codes["schema-missing"]["sql"].startswith("create schema")
    await apply(client, {**crm, "dsn": dsn.replace("nms@", "nobody@")})
    assert [one["code"] for one in await probe(client, "crm")] == ["access-refused"]
    await apply(client, {**crm, "password": "env://NOT_SET"})
    assert [one["code"] for one in await probe(client, "crm")] == ["secret-missing"]


async def test_an_api_is_asked_with_its_login(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_KEY", "a-key-of-ada")
    login = {"type": "header", "header": "X-Key", "key": "env://CRM_KEY"}
    for answer, codes in (
        (answering(b'[{"id": 1}]'), []),
        (answering(b"{}", status=b"401 No"), ["remote-login-refused"]),
    ):
        async with listening(answer) as remote:
            *_, rest = systems_at(remote.port)
            await apply(client, {**rest, "login": login})
            assert [one["code"] for one in await probe(client, "rest") if one["fatal"]] == codes
            assert b"a-key-of-ada" in remote.heads[0]


async def test_inner_networks_are_reached_only_where_the_owner_allows_it(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EGRESS_ALLOW")
    get_settings.cache_clear()
    await close_egress()
    async with listening(saying(b"hello")) as remote:
        for host in ("127.0.0.1", "localhost", "2130706433", "127.1"):
            systems = systems_at(remote.port, host)[: None if host == "127.0.0.1" else 2]
            await apply(client, *systems)
            for system in systems:
                [finding] = await probe(client, system["name"])
                assert (finding["code"], finding["fatal"]) == ("egress-refused", True), (host, finding)
                assert "EGRESS_ALLOW" in finding["remedy"]
        assert remote.reached == []


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Somebody who speaks another language, and speaks first."""
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    with suppress(OSError):
        await reader.read()
    writer.close()


async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Somebody who says nothing."""
    with suppress(OSError):
        while await reader.read(1000):
            pass
    writer.close()


@asynccontextmanager
async def ports() -> AsyncIterator[dict[str, int]]:
    """A closed port, one that says nothing, and one where somebody else speaks."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        greeting, waiting = [await asyncio.start_server(one, "127.0.0.1", 0) for one in (greet, wait)]
        yield {
            "closed": closed.getsockname()[1],
            "silent": waiting.sockets[0].getsockname()[1],
            "foreign": greeting.sockets[0].getsockname()[1],
        }
        for server in (greeting, waiting):
            server.close()


@pytest.mark.parametrize("at", range(4), ids=["postgres", "amqp", "kafka", "rest"])
async def test_an_open_port_is_not_told_from_a_closed_one_by_words_or_time(
    client: httpx2.AsyncClient, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFG_PROBE_SECONDS", str(SECONDS))
    told = []
    async with ports() as found:
        for port in found.values():
            system = systems_at(port)[at]
            await apply(client, system)
            began = monotonic()
            told.append(await probe(client, system["name"]))
            assert monotonic() - began >= SECONDS - 0.05
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 1


async def test_probes_are_counted_and_noted(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFG_PROBES_PER_MINUTE", "1")
    monkeypatch.setenv("CFG_ALL_PROBES_PER_MINUTE", "2")
    async with listening(answering(b'[{"id": 1}]')) as remote:
        *_, rest = systems_at(remote.port)
        await apply(client, rest)
        await probe(client, "rest")
        answer = await client.post("/systems/rest/probe")
        spent = problem_of(answer, 429, "probes-spent")
        assert 0 < int(answer.headers["retry-after"]) == spent["retry_after"] <= 60
        other = {"Authorization": f"Bearer {mint_token(get_settings(), ['systems:probe'], subject='eve')}"}
        assert (await client.post("/systems/rest/probe", headers=other)).status_code == 200
        problem_of(await client.post("/systems/rest/probe", headers=other), 429, "probes-spent")
        monkeypatch.setenv("CFG_ALL_PROBES_PER_MINUTE", "1")
        third = {"Authorization": f"Bearer {mint_token(get_settings(), ['systems:probe'], subject='max')}"}
        problem_of(await client.post("/systems/rest/probe", headers=third), 429, "probes-spent")
        problem_of(await client.post("/systems/nobody/probe"), 404, "not-found")
    entries = (await client.get("/audit?action=system.probe")).json()["items"]
    done, refused = ([one for one in entries if one["outcome"] == outcome] for outcome in ("done", "refused"))
    place = {"type": "rest", "at": f"http://127.0.0.1:{remote.port}"}
    assert [(one["actor"], one["subject"]) for one in done] == [(f"operator:{who}", "rest") for who in ("eve", "ada")]
    assert all(one["facts"]["at"].startswith(place["at"]) for one in done)
    assert [(one["actor"], one["facts"]["code"]) for one in refused] == [
        (f"operator:{who}", "probes-spent") for who in ("max", "eve", "ada")
    ]


async def test_a_plan_asks_no_more_systems_than_a_minute_allows(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFG_PROBES_PER_MINUTE", "2")
    async with listening(answering(b'[{"id": 1}]')) as remote:
        *_, rest = systems_at(remote.port)
        body = {"documents": [{**rest, "name": f"r{number}"} for number in range(5)]}
        answer = await client.post("/plan?probe=true", json=body)
        assert answer.status_code == 200, answer.text
        probes = answer.json()["probes"]
        assert [[found["code"] for found in one["findings"]] for one in probes] == [[]] * 2 + [["probe-left-out"]] * 3
        asked = len(remote.heads)
        problem_of(await client.post("/plan?probe=true", json=body), 429, "probes-spent")
        assert len(remote.heads) == asked == 2
    entries = (await client.get("/audit?action=system.probe")).json()["items"]
    assert len(entries) == 2


async def test_a_plan_looks_at_what_it_touches_as_it_would_stand(
    client: httpx2.AsyncClient, database: str, outbound: Settings
) -> None:
    crm = {"kind": "system", "name": "crm", "type": "postgres", "dsn": without_password(database)}
    async with listening(answering(b'[{"id": 1}]')) as remote:
        *_, rest = systems_at(remote.port)
        await apply(client, crm, rest, {**crm, "name": "untouched"})
        flow = {"kind": "pipeline", "name": "flow", "source": "rest", "target": "crm", "capture": "pull"}
        body = {"documents": [{**flow, "datasets": [{"source": "things", "target": "public.things"}]}]}
        answer = await client.post("/plan?probe=true", json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert [one["name"] for one in told["differences"]] == ["flow"]
        probes = {one["system"]: {found["code"] for found in one["findings"]} for one in told["probes"]}
        assert probes.keys() == {"crm", "rest"}
        assert probes["crm"] >= {"schema-missing", "table-missing"}
        moved = {"documents": [{**crm, "dsn": crm["dsn"].replace("nms@", "nobody@")}]}
        [one] = (await client.post("/plan?probe=true", json=moved)).json()["probes"]
        assert (one["system"], one["fit"], one["findings"][0]["code"]) == ("crm", False, "access-refused")
        assert "probes" not in (await client.post("/plan", json=moved)).json()
        asked = len(remote.heads)
        for scopes in (["config:read", "systems:probe"], ["config:read", "config:write"]):
            weak = {"Authorization": f"Bearer {mint_token(outbound, scopes, subject='eve')}"}
            problem_of(await client.post("/plan?probe=true", json=body, headers=weak), 403, "scope-missing")
        assert len(remote.heads) == asked


async def test_a_stored_secret_goes_nowhere_else_by_the_probe_of_a_plan(
    client: httpx2.AsyncClient, outbound: Settings
) -> None:
    secrets = {"Authorization": f"Bearer {mint_token(outbound, ['secrets:write'], subject='ada')}"}
    answer = await client.put("/secrets/crm-key", json={"value": "a-key-of-ada"}, headers=secrets)
    assert answer.status_code in (200, 201), answer.text
    login = {"type": "header", "header": "X-Key", "key": "secret://crm-key"}
    async with listening(answering(b'[{"id": 1}]')) as here, listening(answering(b"[]")) as elsewhere:
        home, away = [{**systems_at(remote.port)[-1], "login": login} for remote in (here, elsewhere)]
        [told] = (await client.post("/plan?probe=true", json={"documents": [home]})).json()["probes"]
        assert (told["findings"], b"a-key-of-ada" in here.heads[0]) == ([], True)
        await apply(client, home)
        assert (await probe(client, "rest"), b"a-key-of-ada" in here.heads[1]) == ([], True)
        [told] = (await client.post("/plan?probe=true", json={"documents": [away]})).json()["probes"]
        assert ([one["code"] for one in told["findings"]], told["fit"]) == (["secret-withheld"], False)
        assert elsewhere.reached == []
    entries = (await client.get("/audit?action=system.probe")).json()["items"]
    assert len(entries) == 2


def test_the_operator_of_the_machine_hears_why_a_system_does_not_answer(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFG_PROBE_SECONDS", "60")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        [system, *_] = systems_at(closed.getsockname()[1])
        (tmp_path / "new.json").write_text(json.dumps(system))
        done = CliRunner().invoke(app, ["plan", "--probe", "-f", str(tmp_path / "new.json"), "--json"])
    assert done.exit_code == 3, done.output
    [probe] = json.loads(done.stdout)["probes"]
    assert [one["code"] for one in probe["findings"]] == ["server-away"]
    assert "onnect" in probe["findings"][0]["sentence"]


def test_what_is_only_there_for_the_host_is_never_reached() -> None:
    for address in BLOCKED:
        assert not is_reachable(address, 5432, EVERYTHING), address
    for address in ("10.0.0.1", "::1", "192.0.2.1"):
        assert is_reachable(address, 5432, EVERYTHING)
        assert not is_reachable(address, 5432, [])
    assert is_reachable("93.184.215.14", 5432, [])


HOSTS = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::ffff:127.0.0.1", "127.1", "2130706433", "0x7f.1")


@pytest.mark.parametrize("host", HOSTS)
async def test_a_driver_on_a_confined_loop_reaches_nothing_inside(host: str) -> None:
    async with listening(saying(b"hello")) as remote:

        async def dial() -> None:
            await asyncio.open_connection(host, remote.port)

        async def dial_in_a_task_of_its_own() -> None:
            await asyncio.create_task(dial())

        for work in (dial, dial_in_a_task_of_its_own):
            with pytest.raises((EgressRefused, OSError)) as refused:
                await run_confined(work, [parse_allowance("127.0.0.2")], 5)
            assert isinstance(refused.value, EgressRefused) or host == "0x7f.1"
        assert remote.reached == []


async def test_a_confined_loop_opens_no_socket_of_this_machine_and_ends_in_time(tmp_path: Any) -> None:
    async def dial() -> None:
        await asyncio.open_unix_connection(str(tmp_path / "socket"))

    with pytest.raises(EgressRefused):
        await run_confined(dial, EVERYTHING, 5)

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await run_confined(deaf, EVERYTHING, 0.2)
