"""Secrets over HTTP: they go in and never come out, and are dropped where a document would carry them elsewhere."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.exposure import list_uses
from nms.cfg.main import create_app
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.configuration import current_documents
from nms.common.db.repositories import BaseNmsRepository
from nms.common.document import AmqpSystem, KafkaSystem, PostgresSystem, RestSystem
from nms.common.seal import SealKeyChanged
from nms.common.secret import SecretElsewhere, SecretMissing, resolve
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from nms.common.vault import lent
from nms.connectors.rest.login import open_login
from nms.inbox.endpoint import Endpoint

VALUE = "h0rses-eat-n0-cucumber-salad"
Client = httpx2.AsyncClient


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    token = mint_token(settings, ["config:*", "secrets:write", "audit:read"], subject="ada")
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app=create_app(settings))
    async with Client(transport=transport, base_url="http://cfg", headers=headers) as client:
        yield client


async def put(client: Client, name: str = "key", value: str = VALUE, **headers: str) -> httpx2.Response:
    return await client.put(f"/secrets/{name}", json={"value": value}, headers=headers)


async def apply(client: Client, *documents: dict[str, Any]) -> httpx2.Response:
    answer = await client.put("/changesets", json={"documents": documents})
    assert answer.status_code == 200, answer.text
    return answer


async def opened() -> str:
    """The value as all that use it now open it."""
    documents = await current_documents(await BaseNmsRepository.open())
    users = [*documents.systems.values(), *documents.endpoints.values()]
    origins = {origin for user in users for use in list_uses(user) for origin in use.origins}
    return resolve("secret://key", *origins).get_secret_value()


async def slip_in(document: dict[str, Any]) -> None:
    """Put a document into the table past cfg, as psql or a restore does."""
    pool = (await BaseNmsRepository.open()).connection
    revision = await pool.fetchval("insert into cfg.revision (author) values ('psql') returning id")
    statement = "insert into cfg.document (kind, name, revision, body, checksum) values ($1, $2, $3, $4, 'x')"
    await pool.execute(statement, document["kind"], document["name"], revision, document)


async def log_in(document: dict[str, Any]) -> None:
    """Open what a document logs in with, as those do who work with it."""
    documents = await current_documents(await BaseNmsRepository.open())
    name = document["name"]
    if document["kind"] == "endpoint":
        Endpoint.of(documents.endpoints[name], dev=False)
        return
    match documents.system(name):
        case PostgresSystem() as system:
            system.address()
        case AmqpSystem() as system:
            system.broker()
        case KafkaSystem() as system:
            system.login()
        case RestSystem() as system:
            await open_login(system).headers()


def api(url: str = "https://a.example/v1", name: str = "crm", **parts: Any) -> dict[str, Any]:
    login = {"type": "header", "key": "secret://key"}
    resources = {"people": {"path": "/people", "records": "@", "key": ["id"]}}
    return {
        "kind": "system",
        "type": "rest",
        "name": name,
        "url": url,
        "login": login,
        "resources": resources,
        **parts,
    }


def database(dsn: str, name: str = "crm") -> dict[str, Any]:
    return {"kind": "system", "type": "postgres", "name": name, "dsn": dsn, "password": "secret://key"}


async def test_a_secret_goes_in_and_never_comes_out(client: Client) -> None:
    answers = [await put(client)]
    assert (answers[0].status_code, answers[0].headers["etag"]) == (200, '"1"')
    await apply(client, api())
    answers += [
        await client.get(path)
        for path in ("/secrets", "/secrets/key", "/documents/system/crm", "/audit", "/revisions/1", "/openapi.json")
    ]
    answers.append(await client.delete("/secrets/key"))
    assert (answers[-1].status_code, answers[-1].json()["used_by"]) == (409, ["system crm"])
    one = (await client.get("/secrets/key")).json()
    assert one["author"] == "ada"
    assert (one["version"], one["state"], one["origins"]) == (1, "set", ["https://a.example"])
    answers.append(await put(client, "bad", VALUE + "\0"))
    answers.append(await client.put("/secrets/key", json={"value": VALUE, "name": "x"}))
    answers.append(await client.put("/secrets/key", json=[VALUE]))
    answers.append(await client.put("/secrets/key", json={"value": [VALUE]}))
    assert [answer.status_code for answer in answers[-4:]] == [422] * 4
    assert not any(VALUE in answer.text for answer in answers)
    assert {each["action"] for each in (await client.get("/audit")).json()["items"]} >= {"secret.set", "secret.remove"}


async def test_a_version_is_written_on_the_one_that_was_read(client: Client) -> None:
    for absent in ('"1"', '"0"'):
        assert (await put(client, **{"If-Match": absent})).status_code == 412, absent
    assert (await put(client, **{"If-None-Match": "*"})).status_code == 200
    assert (await put(client, **{"If-Match": '"0"'})).json()["code"] == "secret-moved"
    assert (await put(client, **{"If-None-Match": "*"})).json()["code"] == "secret-moved"
    assert (await put(client, **{"If-Match": '"1"'})).json()["version"] == 2
    assert (await put(client, **{"If-Match": '"1"'})).status_code == 412
    assert (await client.delete("/secrets/key", headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.delete("/secrets/key", headers={"If-Match": '"2"'})).status_code == 204
    assert (await client.get("/secrets/key")).status_code == (await client.delete("/secrets/key")).status_code == 404
    assert (await put(client, **{"If-None-Match": "*"})).json()["version"] == 4
    for headers in ({"If-Match": "4"}, {"If-None-Match": '"4"'}, {"If-Match": '"4"', "If-None-Match": "*"}):
        assert (await put(client, **headers)).status_code == 422
    for name in ("-", "A", "a%20b", "x" * 41):
        assert (await put(client, name)).status_code == 422


async def test_no_secret_has_the_name_of_a_route(client: Client) -> None:
    refused = (await put(client, "rotation")).json()
    assert [(each["pointer"], "secrets/rotation" in each["detail"]) for each in refused["errors"]] == [("/name", True)]
    assert (await put(client, "rotations")).status_code == 200


SYSTEMS = {
    "another host": (api(), api("https://b.example/v1")),
    "another port": (api(), api("https://a.example:8443/v1")),
    "another scheme": (api(), api("http://a.example/v1")),
    "a second system elsewhere": (api(), api("https://b.example", "other")),
    "a token endpoint elsewhere": (
        api(),
        api(
            login={
                "type": "oauth2-client",
                "token_url": "https://b.example/token",
                "client_id": "me",
                "client_secret": "secret://key",
            }
        ),
    ),
    "a database elsewhere": (database("postgresql://u@h:5432/d"), database("postgresql://u@h:5433/d")),
    "a database without TLS": (
        database("postgresql://u@h/d?sslmode=verify-full"),
        database("postgresql://u@h/d?sslmode=prefer"),
    ),
    "a database named elsewhere": (database("postgresql://u@h/d"), database("env://DSN")),
    "a broker elsewhere": (
        {"kind": "system", "type": "amqp", "name": "q", "dsn": "amqps://u@h/v", "password": "secret://key"},
        {"kind": "system", "type": "amqp", "name": "q", "dsn": "amqp://u@h:5671/v", "password": "secret://key"},
    ),
    "one more server": (
        {"kind": "system", "type": "kafka", "name": "k", "servers": ["a:1"], "user": "u", "password": "secret://key"},
        {"kind": "system", "type": "kafka", "name": "k", "servers": ["a:1", "b:1"], "user": "u",
         "password": "secret://key"},
    ),
    "an endpoint": (api(), {"kind": "endpoint", "name": "e", "scheme": {"type": "github", "secrets": ["secret://key"]}}),
    "a handshake that signs": (
        {"kind": "endpoint", "name": "e", "scheme": {"type": "github", "secrets": ["secret://key"]}},
        {"kind": "endpoint", "name": "f", "scheme": {"type": "zoom", "secrets": ["env://Z"]},
         "handshakes": [{"type": "zoom", "secret": "secret://key"}]},
    ),
    "a handshake that signs with the secret of its scheme": (
        {"kind": "endpoint", "name": "e", "scheme": {"type": "hmac", "header": "S", "secrets": ["secret://key"]}},
        {"kind": "endpoint", "name": "f", "scheme": {"type": "x", "secrets": ["secret://key", "env://X"]},
         "handshakes": ["x"]},
    ),
    "a password in the clear": (
        {"kind": "system", "type": "kafka", "name": "k", "servers": ["a:1"], "user": "u", "password": "secret://key"},
        {"kind": "system", "type": "kafka", "name": "k", "servers": ["a:1"], "user": "u", "password": "secret://key",
         "mechanism": "PLAIN"},
    ),
}  # fmt: skip


async def test_a_secret_never_goes_where_it_was_not_given_for(client: Client) -> None:
    for case, (before, after) in SYSTEMS.items():
        await put(client)
        await apply(client, before)
        assert await opened() == VALUE, case
        told = (await client.post("/plan", json={"documents": [after]})).json()["differences"]
        effects = [effect for each in told for effect in each.get("effects", ()) if "secret key is dropped" in effect]
        assert len(effects) == 1, case
        assert effects[0].endswith("set it anew")
        assert await opened() == VALUE
        await apply(client, after)
        assert (await client.get("/secrets/key")).json()["state"] == "dropped", case
        with pytest.raises(SecretMissing, match="was dropped"):
            await opened()
        emptied = await client.put("/changesets", json={"documents": [], "prune": True})
        assert emptied.status_code == 200
    dropped = (await client.get("/audit?action=secret.drop")).json()["items"]
    assert len(dropped) == len(SYSTEMS)
    assert "system crm moves from https://a.example to https://b.example" in dropped[-1]["reason"]


async def test_a_document_put_in_past_cfg_carries_no_secret_elsewhere(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSN", "postgresql://u@h/d")
    monkeypatch.setenv("Z", "signs-for-zoom")
    for case, (before, after) in SYSTEMS.items():
        await put(client)
        await apply(client, before)
        if "token_url" not in before.get("login", ()):
            await log_in(before)
        await slip_in(after)
        with pytest.raises(SecretElsewhere) as refused:
            await log_in(after)
        assert "set it anew" in refused.value.remedy, case
        assert VALUE not in str(refused.value.to_dict())
        # The next changeset notices it too, and takes the value away.
        await apply(client, {"kind": "system", "name": "other-one", "type": "inbox"})
        assert (await client.get("/secrets/key")).json()["state"] == "dropped", case
        await client.put("/changesets", json={"documents": [], "prune": True})


async def test_a_secret_that_nothing_used_yet_is_opened_for_nobody_but_who_tries_its_first_use(client: Client) -> None:
    await put(client)
    await slip_in(api())
    with pytest.raises(SecretElsewhere, match="not given for anything yet"):
        await log_in(api())
    await apply(client, {"kind": "system", "name": "other", "type": "inbox"})
    assert (await client.get("/secrets/key")).json()["origins"] == [], "only what a changeset writes is a first use"
    with lent({"key": ["https://a.example"], "other": ["https://b.example"]}):
        await log_in(api())
        with pytest.raises(SecretElsewhere):
            resolve("secret://key", "https://b.example")
    assert (await put(client)).json()["origins"] == ["https://a.example"]
    await log_in(api())
    with lent({"key": ["https://b.example"]}), pytest.raises(SecretElsewhere):
        resolve("secret://key", "https://b.example")
    for origins in ((), ("https://a.example", "https://b.example")):
        with pytest.raises(SecretElsewhere):
            resolve("secret://key", *origins)


async def test_a_first_use_needs_the_key_that_sealed_the_secret(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(client)
    monkeypatch.setenv("SECRETS_KEY", "another-key-of-48-letters-or-so-Tc3vB7nM1qW9")
    get_settings.cache_clear()
    with pytest.raises(SealKeyChanged, match="The secret key cannot be given for https:"):
        await apply_changeset(await DocumentRepository.open(), Changeset([Draft(api())]))
    assert (await current_documents(await BaseNmsRepository.open())).revision == 0


async def test_what_stays_where_it_is_keeps_its_secret(client: Client) -> None:
    await put(client)
    same = [
        (api(), api("https://a.example/v2"), api("https://a.example/v1", "second"), api(timeout="5s")),
        (
            database("postgresql://u@h/d"),
            database("postgresql://u@H:5432/d"),
            database("postgresql://v@h/e"),
            database("postgresql://v@h/e?sslmode=verify-full"),
        ),
        tuple(
            {"kind": "system", "type": "kafka", "name": "k", "servers": ["a:1"], "user": "u", "mechanism": mechanism,
             "password": "secret://key"}
            for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
        ),
        tuple(
            {"kind": "endpoint", "name": name, "scheme": {"type": kind, "secrets": secrets}, "handshakes": [kind]}
            for name, kind, secrets in (
                ("z", "zoom", ["secret://key"]), ("z", "zoom", ["env://Z", "secret://key"]), ("m", "meta", ["secret://key"])
            )
        ),
    ]  # fmt: skip
    for documents in same:
        for document in documents:
            await apply(client, document)
            assert await opened() == VALUE
        await client.put("/changesets", json={"documents": [], "prune": True})
        await put(client)


async def test_a_secret_set_anew_may_go_where_the_documents_use_it_then(client: Client) -> None:
    await put(client)
    await apply(client, api())
    await apply(client, api("https://b.example"))
    assert (await put(client)).json()["origins"] == ["https://b.example"]
    assert await opened() == VALUE
    await apply(client, api("https://b.example/v2"))
    assert await opened() == VALUE
    answer = await client.post("/rollback", json={"revision": 1})
    assert answer.status_code == 200, answer.text
    with pytest.raises(SecretMissing):
        await opened()
