"""Secrets over HTTP: they go in and never come out, and are dropped where a document would carry them elsewhere."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.cfg.main import create_app
from nms.common.configuration import current_documents
from nms.common.db.repositories import BaseNmsRepository
from nms.common.secret import SecretMissing, resolve
from nms.common.settings import Settings
from nms.common.token import mint_token

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


async def opened(name: str = "key") -> str:
    await current_documents(await BaseNmsRepository.open())
    return resolve(f"secret://{name}").get_secret_value()


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
