"""A secret that is set anew is taken up by what runs: by endpoints at once, by pipelines at their next connection."""

import hashlib
import hmac
from typing import Any

import asyncpg

from nms.cfg.secret import SecretRepository
from nms.cfg.secrets import set_secret
from nms.common.following import followed
from nms.common.settings import Settings
from nms.common.vault import own_vault
from nms.inbox.endpoints import Endpoints
from tests.conftest import MakeDatabase, MakeServer
from tests.service.inbox import declare
from tests.service.stage import Stage, pipeline
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

IDS = "select id from public.item order by id"
BODY = b'{"a": 1}'
HOOK = {"kind": "endpoint", "name": "hook", "scheme": {"type": "github", "secrets": ["secret://hook"]}}
OTHER = {"kind": "endpoint", "name": "other", "scheme": {"type": "github", "secrets": ["secret://other"]}}


async def store(name: str, value: str) -> None:
    await set_secret(await SecretRepository.open(), name, value, "test")


def believes(endpoints: Endpoints, secret: str) -> bool:
    digest = hmac.digest(secret.encode(), BODY, hashlib.sha256).hex()
    headers = [(b"x-hub-signature-256", b"sha256=" + digest.encode()), (b"x-github-delivery", b"1")]
    return bool(endpoints.get("hook").believe(headers, BODY, 0.0))


async def test_an_endpoint_believes_what_was_set_last_and_others_stay_as_they_are(settings: Settings) -> None:
    await store("hook", "the first value")
    await store("other", "another value")
    await declare(HOOK, OTHER)
    async with followed(Endpoints(dev=False)) as endpoints:
        assert believes(endpoints, "the first value")
        other = endpoints.get("other")
        await store("hook", "the second value")

        async def look() -> bool:
            return believes(endpoints, "the second value")

        await eventually(look)
        assert not believes(endpoints, "the first value")
        assert endpoints.get("other") is other


async def ask_for_password(server: PostgresServer, password: str) -> None:
    """Let the login crm in by password only."""
    await server.execute(f"create role crm login password '{password}' in role nms")
    rules = server.directory / "data" / "pg_hba.conf"
    rules.write_text("host all crm all scram-sha-256\n" + rules.read_text())
    await server.execute("select pg_reload_conf()")

    async def look() -> bool:
        try:
            await (await asyncpg.connect(server.dsn("postgres", "crm"))).close()
        except asyncpg.InvalidPasswordError:
            return True
        return False

    await eventually(look)


async def test_a_pipeline_takes_a_rotated_password_at_its_next_connection(
    settings: Settings, make_database: MakeDatabase, make_server: MakeServer
) -> None:
    server = await make_server("18")
    stage = await Stage.set(settings, await make_database(), await server.create_database("crm"))
    await ask_for_password(server, "f1rst-passw0rd")
    await store("crm", "f1rst-passw0rd")
    target: dict[str, Any] = {
        "kind": "system", "type": "postgres", "name": "target", "password": "secret://crm",
        "dsn": f"postgresql://crm@127.0.0.1:{server.port}/crm",
    }  # fmt: skip
    await stage.apply(*stage.systems(source=stage.source), target, pipeline())
    async with stage.working():
        await stage.at("source", "insert into public.item values (1, 'a')")
        await stage.arrive(IDS, [1])
        await store("crm", "sec0nd-passw0rd")

        async def look() -> bool:
            return own_vault().version("crm") == 2

        await eventually(look)
        await server.execute("alter role crm password 'sec0nd-passw0rd'")
        await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'crm'")
        await stage.at("source", "insert into public.item values (2, 'b')")
        await stage.arrive(IDS, [1, 2])
