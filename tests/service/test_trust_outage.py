"""The feed while something is away: the database of auth, RabbitMQ, Redis."""

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from nms.common.db.migrations import upgrade
from nms.common.settings import Settings, read_settings
from nms.common.token import mint_token
from tests.conftest import DB, MakeServer
from tests.service.role_process import RoleProcess, running
from tests.service.trusting import Auth, Signer, auth_of, claims_of, door_of
from tests.service.web_client import SECRET, problem_of
from tests.services.postgres import PostgresServer
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import RedisServer
from tests.waiting import eventually

DOOR = "tests.service.door_app:app"


@pytest.fixture
async def own_server(make_server: MakeServer) -> PostgresServer:
    server = await make_server("18")
    await upgrade(await server.create_database("auth"), DB / "auth" / "migrations")
    return server


@pytest.fixture
def own_settings(own_server: PostgresServer, tmp_path: Path) -> Settings:
    dsn = SecretStr(own_server.dsn("auth"))
    return read_settings(Settings, environment="test", jwt_secret_key=SECRET, data_dir=tmp_path, db_auth_dsn=dsn)


async def test_known_keys_go_on_while_the_database_is_away_and_revocations_are_read_when_it_is_back(
    own_server: PostgresServer, own_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    signer, claims = Signer(), claims_of()
    token = signer.sign(**claims)
    async with auth_of(own_server.dsn("auth")) as auth:
        await auth.add_key(signer)
        service, _ = await auth.add_service("doors:read")
    async with door_of(own_settings) as door:
        assert [await door.status(one) for one in (token, service)] == [200, 200]
        await own_server.stop()
        await eventually(door.is_away)
        assert [await door.status(one) for one in (token, service, signer.sign())] == [200, 200, 200]
        assert await door.status(Signer().sign()) == 401
        assert (await door.client.get("/readyz")).status_code == 200
        await own_server.start()
        async with auth_of(own_server.dsn("auth")) as auth:
            await auth.revoke("session", claims["sid"])
        await eventually(door.refuses(token), seconds=15)
        assert await door.status(signer.sign()) == 200
    told = [record.message for record in caplog.records if "cannot be asked whom to trust" in record.message]
    assert len(told) == 1, told


async def test_a_role_starts_while_the_database_is_away_and_knows_its_operator(
    own_server: PostgresServer, own_settings: Settings
) -> None:
    signer = Signer()
    async with auth_of(own_server.dsn("auth")) as auth:
        await auth.add_key(signer)
        service, _ = await auth.add_service("doors:read")
    await own_server.stop()
    async with asyncio.timeout(60), door_of(own_settings) as door:
        assert await door.status(mint_token(own_settings, ["doors:read"], subject="ann")) == 200
        for token in (signer.sign(), service):
            answer = await door.answer(token)
            assert problem_of(answer, 503, "trust-away")["retry"] == "later"
            assert answer.headers["retry-after"] == "1"
        assert await door.status("nonsense") == 401
        await own_server.start()
        await eventually(door.lets_in(signer.sign()), seconds=15)
        await eventually(door.lets_in(service), seconds=15)


@pytest.fixture
async def auth(auth_database: str) -> AsyncIterator[Auth]:
    async with auth_of(auth_database) as auth:
        yield auth


async def knock(role: RoleProcess, token: str) -> int:
    async with httpx2.AsyncClient(base_url=role.address) as client:
        return (await client.get("/door", headers={"Authorization": f"Bearer {token}"})).status_code


async def revoke_and_wait(role: RoleProcess, auth: Auth, signer: Signer) -> float:
    """Seconds from the commit of a revocation until another process refuses the token; fails after one second."""
    claims = claims_of()
    token = signer.sign(**claims)
    assert await knock(role, token) == 200
    await auth.revoke("session", claims["sid"])
    began = time.monotonic()

    async def is_refused() -> bool:
        return await knock(role, token) == 401

    await eventually(is_refused, seconds=1)
    return time.monotonic() - began


async def test_a_revocation_is_real_in_another_process_with_rabbitmq_and_redis_there_stopped_and_wiped(
    settings: Settings, auth: Auth, tmp_path: Path
) -> None:
    rabbit, redis = RabbitServer(tmp_path / "rabbit"), RedisServer(tmp_path / "redis")
    await asyncio.gather(asyncio.to_thread(rabbit.launch), asyncio.to_thread(redis.launch))
    assert settings.db_auth_dsn is not None
    dsns = {"DB_AUTH_DSN": settings.db_auth_dsn.get_secret_value(), "AMQP_DSN": rabbit.dsn(), "REDIS_DSN": redis.dsn()}
    signer = Signer()
    await auth.add_key(signer)
    try:
        async with running(DOOR, tmp_path, environment=dsns) as role:
            took = [await revoke_and_wait(role, auth, signer)]
            for server in (rabbit, redis):
                await asyncio.to_thread(server.end, signal.SIGKILL)
                shutil.rmtree(server.directory)
            took.append(await revoke_and_wait(role, auth, signer))
            await asyncio.to_thread(redis.launch)
            took.append(await revoke_and_wait(role, auth, signer))
        sys.stdout.write(f"real after {', '.join(f'{one * 1000:.0f} ms' for one in took)}\n")
    finally:
        rabbit.end(signal.SIGKILL)
        redis.end(signal.SIGKILL)
