"""The default server of these tests belongs to one worker.

Slots are named after pipelines and are the whole server's: two tests with a pipeline of one name would meet there.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from nms.common.db.pool import close_pools
from nms.common.egress.shared import close_egress
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeDatabase, template_of
from tests.service.rest_stage import make_stage
from tests.service.signing import House, house_of
from tests.service.stage import Stage
from tests.service.warehouse import connected
from tests.services.postgres import PostgresServer
from tests.services.shared import Session


@pytest.fixture
def server(request: pytest.FixtureRequest, services: Session) -> PostgresServer:
    """As everywhere, but the one without a version is not shared with other workers."""
    if hasattr(request, "param"):
        return services.postgres(request.param)
    if "TEST_PG_DSN" in os.environ:
        return services.postgres("foreign")
    return services.postgres("18", os.environ.get("PYTEST_XDIST_WORKER", ""))


@pytest.fixture
async def psql(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Who writes to the warehouse by hand."""
    async with connected(settings) as connection:
        yield connection


@pytest.fixture
async def auth_settings(auth_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Settings]:
    """As `settings`, of the database auth alone: the other two would cost more than most of its tests."""
    given = {"DB_AUTH_DSN": auth_database, "ENVIRONMENT": "test", "DATA_DIR": str(tmp_path / "data")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield get_settings()
    await close_pools()
    get_settings.cache_clear()


@pytest.fixture
async def house(auth_settings: Settings) -> AsyncIterator[House]:
    """The auth role in this process, and what its callers do."""
    async with house_of(auth_settings) as house:
        yield house


@pytest.fixture
async def api_stage(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """A stage for pipelines between an API on 127.0.0.1 and tables; a lease is over after a second."""
    monkeypatch.setenv("SYNC_LEASE", "1")
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1")
    get_settings.cache_clear()
    yield await make_stage(get_settings(), await make_database())
    await close_egress()


@pytest.fixture
async def outbound(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Settings]:
    """As `settings`, of the database nms alone; outbound HTTP may reach 127.0.0.1."""
    async for settings in reaching_loopback(database, tmp_path, monkeypatch):
        yield settings


@pytest.fixture
async def asking(
    server: PostgresServer, services: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Settings]:
    """As `outbound`, for a client of an API alone: in a database that tests share, since names of theirs have ports."""
    name = f"nms_shared_{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    template = await template_of(server, services, "nms")
    if not await server.has_database(name):
        await server.create_database(name, template=template)
    async for settings in reaching_loopback(server.dsn(name), tmp_path, monkeypatch):
        yield settings


async def reaching_loopback(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Settings]:
    given = {"DB_NMS_DSN": database, "ENVIRONMENT": "test", "DATA_DIR": str(tmp_path / "data")}
    for name, value in {**given, "EGRESS_ALLOW": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield get_settings()
    await close_egress()
    await close_pools()
    get_settings.cache_clear()
