"""Forty secrets are planted wherever NMS is given some, and looked for wherever it shows, writes or keeps anything."""

import hmac
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from nms.common.configuration import current_documents
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.pool import get_pool
from nms.common.db.repositories import BaseNmsRepository
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeDatabase
from tests.fuzz.test_api import environment_of
from tests.house.tree import refuse
from tests.service.planted_secrets import DSNS, IN_A_PATH, KEYS, NAMES, STORED, Planted, codings_of
from tests.service.role_matrix import MADE_UP, ROUTES
from tests.service.role_process import ROOT, UVICORN, RoleProcess, running
from tests.service.secret_places import (
    dump_database,
    find_below,
    list_commands,
    show_commands,
    show_environments,
    show_processes,
)
from tests.service.signing import house_of
from tests.service.stage import Stage, pipeline, without_password
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

KNOWN = {**MADE_UP, "kind": "system", "name": "source", "revision": "1", "id": "1", "run_id": "1", "to": "0"}
WITHOUT_WAITING = {"CFG_WATCH_SECONDS": "0", "CFG_WATCH_BEAT": "0.05", "DEBUG": "true", "EGRESS_ALLOW": "127.0.0.1"}

NAMED = {"/sync/pipelines": "items", "/cfg/secrets": STORED[0], "/auth/roles": "admin"}
LEAK = "told-in-the-message-of-a-revision"
LEAKING = ("GET /cfg/revisions", "database nms", "dump of nms", "nms revisions")
EMBEDDED = ("nms", "up", "--port", "{port}")


@dataclass
class Hub:
    """All roles and their workers in one process, logging all they can, and what somebody sees of them."""

    planted: Planted
    process: RoleProcess
    client: httpx2.AsyncClient
    seen: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request whose answer is to be searched."""
        async with self.client.stream(method, path, **options) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                # The events of a run that goes on have no end.
                text = await anext(answer.aiter_text(), "")
            else:
                await answer.aread()
                text = answer.text
        self.seen[f"answer {len(self.seen)}, {method} {path.split('?')[0][:60]}"] = f"{answer.headers} {text}"
        return answer

    async def log_in(self, name: str) -> dict[str, Any]:
        """The tokens of somebody: secrets themselves, which their own answer alone may show."""
        form = {"username": f"{name}@example.org", "password": self.planted[name]}
        tokens: dict[str, Any] = (await self.client.post("/auth/token", data=form)).json()
        self.planted.values[f"refresh token of {name}"] = tokens["refresh_token"]
        self.planted.values[f"access token of {name}"] = tokens["access_token"]
        return tokens

    async def read_everything(self) -> None:
        """Every route that reads, of every role."""
        for role, routes in ROUTES.items():
            for route in (one for one in routes if one.startswith("GET ")):
                path = address_of(f"/{role}{route.split()[1]}")
                await self.ask("GET", path, timeout=30)

    async def places(self) -> dict[str, str]:
        """Where secrets might stand: answers, logs, command lines, `repr`, all rows and dumps of all databases."""
        documents, settings = await current_documents(await BaseNmsRepository.open()), get_settings()
        shown = {"the log": self.process.log, **show_processes(self.process.process.pid)}
        shown |= {"repr of settings": f"{settings!r} {settings}", "repr of documents": repr(documents)}
        for kind in DSNType:
            shown[f"database {kind.value}"] = await list_rows(kind)
            shown[f"dump of {kind.value}"] = await dump_database(dsn_of(kind, settings))
        return {**self.seen, **shown}


def address_of(route: str) -> str:
    """The address of what is there, or was never there, by the pattern of its route."""
    name = next((name for start, name in NAMED.items() if route.startswith(start)), "source")
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: (KNOWN | {"name": name}).get(found[1], name), route)


async def list_rows(kind: DSNType) -> str:
    """All rows of a database as text: bytes are hexadecimal digits, and nothing is compressed."""
    pool = await get_pool(kind)
    tables = await pool.fetch(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables "
        "where schemaname not in ('pg_catalog', 'information_schema')"
    )
    union = " union all ".join(f"select t::text as line from {row['name']} t" for row in tables)
    return "\n".join(row["line"] for row in await pool.fetch(union))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Planted:
    made = Planted.make()
    for name in KEYS:
        monkeypatch.setenv(name, made[name])
    for name in (each for each in NAMES if each.startswith("file-")):
        (tmp_path / name).write_text(made[name])
    return made


def with_password(dsn: str, password: str) -> str:
    """A DSN with a password; the servers of tests trust every login of this machine, and ask for none."""
    return re.sub(r"//([^:@]+)(:[^@]*)?@", lambda found: f"//{found[1]}:{quote(password, safe='')}@", dsn)


@pytest.fixture
async def hub(
    planted: Planted, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hub]:
    levels = json.loads((ROOT / "loggers.json").read_text().replace('"INFO"', '"DEBUG"'))
    (tmp_path / "loggers.json").write_text(json.dumps(levels))
    server = [str(tmp_path / "loggers.json") if part == "loggers.json" else part for part in UVICORN]
    environment = environment_of(settings) | WITHOUT_WAITING
    environment |= {name: value for name, value in planted.values.items() if name.isupper() and name not in DSNS}
    environment |= {name: with_password(environment[name], planted[name]) for name in DSNS}
    async with house_of(settings) as house:
        await house.add("ann@example.org", "admin", password=planted["ann"])
    async with (
        running("tests.fuzz.many_addresses:app", tmp_path, server=server, environment=environment) as process,
        httpx2.AsyncClient(base_url=process.address) as client,
    ):
        # So do commands, which run in the process of the test.
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        hub = Hub(planted, process, client)
        tokens = await hub.log_in("ann")
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield hub


def documents(api: str, folder: Path, source: str, target: str) -> list[dict[str, Any]]:
    """Documents that name a secret wherever one can be named."""
    token = {"token_url": f"{api}/oauth/token", "client_id": "me"}
    rest: dict[str, Any] = {"kind": "system", "type": "rest", "url": api,
                            "resources": {"people": {"path": "/people", "records": "@", "key": ["id"]}}}  # fmt: skip
    client = {"type": "oauth2-client", "client_secret": "env://PLANTED_1", **token}
    refresh = {"type": "oauth2-refresh", "client_secret": "secret://stored-2", **token}
    broker = {"kind": "system", "name": "broker", "type": "amqp", "dsn": "amqp://a@127.0.0.1:1/"}
    kafka = {"kind": "system", "name": "log", "type": "kafka", "servers": ["127.0.0.1:1"], "user": "a"}
    return [
        {"kind": "system", "type": "postgres", "name": "source", "dsn": source, "password": "secret://stored-0"},
        {"kind": "system", "type": "postgres", "name": "target", "dsn": target, "password": "env://PLANTED_0"},
        {**rest, "name": "keyed", "login": {"type": "header", "key": "secret://stored-1"}},
        {**rest, "name": "basic", "login": {"type": "basic", "user": "a", "password": f"file://{folder}/file-0"}},
        {**rest, "name": "client", "login": client},
        {**rest, "name": "refresh", "login": {**refresh, "refresh_token": f"file://{folder}/file-1"}},
        {**broker, "password": "env://PLANTED_2"},
        {**kafka, "password": "secret://stored-3"},
        endpoint("bearer", {"type": "bearer", "secrets": ["secret://stored-4", f"file://{folder}/file-2"]}),
        endpoint("signed", {"type": "hmac", "header": "X-Sig", "secrets": ["secret://stored-5", "env://PLANTED_3"]}),
        endpoint("path", {"type": "path", "secrets": ["env://PLANTED_4"]}),
        endpoint("user", {"type": "basic", "user": "a", "secrets": ["env://PLANTED_5", f"file://{folder}/file-3"]}),
        pipeline(),
    ]


def endpoint(name: str, scheme: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "endpoint", "name": name, "scheme": scheme}


async def use(hub: Hub, wanted: list[dict[str, Any]]) -> None:
    """Store, use and misuse every secret."""
    planted = hub.planted
    for name in STORED:
        assert (await hub.ask("PUT", f"/cfg/secrets/{name}", json={"value": planted[name]})).status_code == 200
    answer = await hub.ask("PUT", "/cfg/changesets", json={"documents": wanted})
    assert answer.status_code == 200, answer.text
    for name in (each["name"] for each in wanted if each["kind"] == "system"):
        assert (await hub.ask("POST", f"/cfg/systems/{name}/probe", timeout=30)).status_code == 200
    await hub.ask("POST", "/cfg/plan", json={"documents": wanted})
    await call_webhooks(hub)
    await misplace(hub)
    for name in ("bob", "vera", "eve"):
        body = {"email": f"{name}@example.org", "password": planted[name], "roles": ["viewer"], "name": name}
        assert (await hub.ask("POST", "/auth/users", json=body)).status_code in (201, 422)


async def call_webhooks(hub: Hub) -> None:
    """Webhooks that are believed, and some that are not."""
    planted, body = hub.planted, json.dumps({"id": 1}).encode()
    forged = "forged signature"
    asked: list[tuple[str, str, dict[str, Any]]] = [
        *((name, "bearer", bearer(planted[name])) for name in ("stored-4", "file-2", forged)),
        *((name, "user", {"auth": ("a", planted[name])}) for name in ("PLANTED_5", "file-3", forged)),
        *((name, "signed", signed(planted[name], body)) for name in ("stored-5", "PLANTED_3", forged)),
        *((name, f"path/{quote(planted[name], safe='')}", {}) for name in (IN_A_PATH, forged)),
    ]
    for name, path, options in asked:
        answer = await hub.ask("POST", f"/inbox/in/{path}", content=body, **options)
        assert (answer.status_code < 300) == (name != forged), (name, path, answer.text)


def bearer(secret: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {secret}"}}


def signed(secret: str, body: bytes) -> dict[str, Any]:
    return {"headers": {"X-Sig": hmac.new(secret.encode(), body, "sha256").hexdigest()}}


async def misplace(hub: Hub) -> None:
    """Secrets where none belongs: they are refused, and the refusal does not repeat them."""
    planted = hub.planted
    wrong = {"username": "ann@example.org", "password": planted["wrong password"]}
    dsn = f"postgresql://a:{quote(planted['dsn in a document'], safe='')}@127.0.0.1/d"
    place = planted["secret in a wrong place"]
    system = {"kind": "system", "name": "a", "type": "postgres"}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/auth/token", {"data": wrong}),
        ("PUT", "/cfg/changesets", {"json": {"documents": [{**system, "dsn": dsn}]}}),
        ("PUT", "/cfg/changesets", {"json": {"documents": [{**system, "dsn": "env://A", "password": place}]}}),
        ("PUT", "/cfg/secrets/a", {"json": {"value": [place]}}),
        ("PUT", "/cfg/secrets/a", {"json": {"value": "a", "other": place}}),
        ("POST", "/auth/users", {"json": {"email": "x", "password": {"a": place}}}),
        ("POST", "/auth/token/refresh", {"data": {"refresh_token": place}}),
        ("POST", "/auth/introspect", {"data": {"token": place}}),
        ("GET", "/cfg/documents", {"headers": {"Authorization": f"Bearer {place}"}}),
    ]
    for method, path, options in asked:
        answer = await hub.ask(method, path, **options)
        assert 400 <= answer.status_code < 500 or path.endswith("introspect"), answer.text


async def test_no_planted_secret_is_found_anywhere(
    hub: Hub, make_database: MakeDatabase, hostile_api: HostileApi, settings: Settings, tmp_path: Path
) -> None:
    stage = await Stage.set(settings, await make_database(), await make_database())
    wanted = documents(hostile_api.url, tmp_path, without_password(stage.source), without_password(stage.target))
    await use(hub, wanted)
    answer = await hub.client.post("/auth/service-tokens", json={"name": "robot", "scopes": ["config:read"]})
    hub.planted.values["service token"] = answer.json()["token"]
    await hub.log_in("bob")
    await stage.reach("streaming", "halted")
    await hub.read_everything()
    hub.seen |= await show_commands(stage, list_commands(hub.planted, tmp_path / "files", wanted))
    assert len(hub.planted.values) >= 40
    assert len(hub.seen) > 200
    assert all(any(one.endswith(f"GET {start}/{name}") for one in hub.seen) for start, name in NAMED.items())
    places = await hub.places()
    assert all(places.values())
    assert (tmp_path / "files/exported/system/keyed.yaml").exists()
    written = find_below(tmp_path / "files/exported", hub.planted) + find_below(settings.data_dir, hub.planted)
    refuse(hub.planted.found_in(places) + written)

    body = {"documents": [], "message": f"{LEAK} {b64encode(LEAK.encode()).decode()}", "prune": True}
    assert (await hub.ask("PUT", "/cfg/changesets", json=body)).status_code == 200
    await hub.ask("GET", "/cfg/revisions")
    await hub.ask("GET", f"/cfg/documents/system/{LEAK}")
    hub.seen |= await show_commands(stage, [("revisions", ""), (f"secrets remove {LEAK}", "")])
    found = Planted({"leak": LEAK}).found_in(await hub.places())
    assert {re.sub(r"(answer|command) \d+, ", "", one) for one in found} >= {
        "leak stands in the log as it is",
        f"leak stands in nms secrets remove {LEAK} as it is",
        *(f"leak stands in {place} as {coding}" for place in LEAKING for coding in ("it is", "base64")),
    }


async def test_no_planted_secret_is_found_in_the_files_and_processes_of_one_command(
    planted: Planted, tmp_path: Path
) -> None:
    given = {name: value for name, value in planted.values.items() if name.isupper() and name not in DSNS}
    with TemporaryDirectory(prefix="nms-planted-") as place:
        Path(place).chmod(0o711)
        environment = {**given, "DEBUG": "true", "DATA_DIR": place}
        async with running("", tmp_path, server=EMBEDDED, environment=environment) as process:
            places = await live(process, planted)
            top = process.process.pid
            environments = show_environments(top)
            assert len(environments) > 5, "PostgreSQL has several processes"
            refuse(planted.found_in(show_processes(top) | environments | places))
            caught = Planted({"line": "wal_level=logical", "value": "/usr/bin:/bin"})
            found = {re.sub(r" \d+ ", " ", each) for each in caught.found_in(show_processes(top) | environments)}
            assert found >= {
                "line stands in command line of postgres as it is",
                "value stands in environment of postgres as it is",
            }
            assert await process.stop() == 0
        # It has written all it knows.
        refuse(find_below(Path(place), planted))
        assert len(find_below(Path(place), Planted({"leak": LEAK}))) > 1


async def live(process: RoleProcess, planted: Planted) -> dict[str, str]:
    """Make an administrator, store and use secrets; gives what was answered and logged."""
    async with httpx2.AsyncClient(base_url=process.address) as client:
        hub = Hub(planted, process, client)
        link = re.search(r"\S+/auth/claim\?token=(\S+)", process.log)
        assert link is not None, process.log
        name, password = "ann@example.org", planted["ann"]
        form = {"email": name, "password": password, "again": password, "token": link[1]}
        assert (await hub.ask("POST", "/auth/claim", data=form)).status_code == 201
        client.headers["Authorization"] = f"Bearer {(await hub.log_in('ann'))['access_token']}"
        for name in STORED:
            assert (await hub.ask("PUT", f"/cfg/secrets/{name}", json={"value": planted[name]})).status_code == 200
        scheme = {"type": "bearer", "secrets": ["secret://stored-4", "env://PLANTED_1"]}
        body = {"documents": [endpoint("bearer", scheme)], "message": LEAK}
        assert (await hub.ask("PUT", "/cfg/changesets", json=body)).status_code == 200
        for name in ("stored-4", "PLANTED_1"):
            await eventually(partial(is_taken, hub, planted[name]))
    return {**hub.seen, "the log": process.log}


async def is_taken(hub: Hub, secret: str) -> bool:
    """Whether a webhook is: the inbox hears of an endpoint a moment after it was stored."""
    answer = await hub.ask("POST", "/inbox/in/bearer", content=b'{"id": 1}', **bearer(secret))
    assert answer.status_code < 300 or answer.status_code == 404, answer.text
    return answer.status_code < 300


@pytest.mark.parametrize("coding", sorted({name for name, _ in codings_of("x")}))
def test_a_planted_secret_is_found_in_any_coding(coding: str) -> None:
    planted = Planted.make()
    written = dict(codings_of(planted["ann"]))[coding]
    assert f"ann stands in a log as {coding}" in planted.found_in({"a log": f"before {written} behind"})
