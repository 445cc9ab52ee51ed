"""The API of every role under generated requests: nothing is answered 5xx, or otherwise than its document says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.fuzz.api import PHASES, SEED, Fuzzed, Role, fuzz
from tests.fuzz.extent import Extent
from tests.fuzz.hooks import is_front
from tests.house.tree import refuse
from tests.service.role_process import running
from tests.service.signing import House, house_of
from tests.service.test_tokens import claims_of

SHORT = ("fuzzing",)
ROOMS = ("auth", "sync", "inbox")
"""cfg, whose watches would wait and whose documents chance never finds, has test_cfg_api.py; the warehouse its own."""


@dataclass
class Served:
    """Roles in a process of their own, and the database of auth behind them."""

    address: str
    house: House

    async def role(self, room: str, token: str | None) -> Role:
        """A role, asked with this token, which no request may end."""
        spared = {str(claims_of(token)[name]) for name in ("sid", "sub")} if token else set()
        async with httpx2.AsyncClient(base_url=self.address) as client:
            document = (await client.get(f"/{room}/openapi.json")).json()
        document["paths"] = {path: one for path, one in document["paths"].items() if not is_front(path)}
        return Role(f"{self.address}/{room}", document, token, frozenset(spared))


@pytest.fixture
async def served(settings: Settings, tmp_path: Path) -> AsyncIterator[Served]:
    environment = environment_of(settings) | {"SYNC_WORKER": "false", "AUTH_WORKER": "false", "INBOX_WORKER": "false"}
    async with (
        house_of(settings) as house,
        running("tests.fuzz.many_addresses:app", tmp_path, environment=environment) as process,
    ):
        yield Served(process.address, house)


def environment_of(settings: Settings) -> dict[str, str]:
    dsns = {name: getattr(settings, name.lower()) for name in ("DB_AUTH_DSN", "DB_NMS_DSN", "DB_DWH_DSN")}
    return {name: dsn.get_secret_value() for name, dsn in dsns.items()} | {"DATA_DIR": str(settings.data_dir)}


async def ask(role: Role, examples: int, extent: Extent) -> Fuzzed:
    return await asyncio.to_thread(partial(fuzz, role, examples, PHASES if extent.long else SHORT))


@pytest.mark.fuzz
async def test_every_answer_is_one_that_the_document_names(served: Served, extent: Extent) -> None:
    await served.house.add("ann@example.org", "admin")
    token = (await served.house.log_in("ann@example.org"))["access_token"]
    faults: list[str] = []
    for room in ROOMS:
        known = await told(extent, await served.role(room, token), f"{room} with a token", extent.choose(2, 60))
        unknown = await told(extent, await served.role(room, None), f"{room} without one", extent.choose(1, 15))
        faults += [f"{room}: {fault}" for fault in (*known.faults, *unknown.faults)]
        assert {status // 100 for _, status in known.statuses} >= {2, 4}
    refuse(faults)
    assert (await served.house.ask("GET", "/sessions", {"access_token": token})).status_code == 200, "asked to the end"


async def told(extent: Extent, role: Role, what: str, examples: int) -> Fuzzed:
    """Fuzz a role, and tell with how many requests."""
    fuzzed = await ask(role, examples, extent)
    extent.told.append(f"{what}: {fuzzed.cases:,} requests of seed {SEED}, {len(fuzzed.faults)} faults")
    return fuzzed


@asynccontextmanager
async def planted(settings: Settings, folder: Path) -> AsyncIterator[Role]:
    """A role that breaks its own document."""
    async with running("tests.fuzz.planted:app", folder, environment=environment_of(settings)) as process:
        async with httpx2.AsyncClient(base_url=process.address) as client:
            document = (await client.get("/openapi.json")).json()
        yield Role(process.address, document, mint_token(settings, ["doors:read"], subject="test"))


async def test_a_role_that_breaks_its_document_is_caught(settings: Settings, tmp_path: Path) -> None:
    async with planted(settings, tmp_path) as role:
        known = await asyncio.to_thread(fuzz, role, 20, SHORT)
        unknown = await asyncio.to_thread(fuzz, Role(role.address, role.document), 1, SHORT)
    faults = {":".join(fault.split(":")[:2]) for fault in known.faults}
    assert faults >= {
        "POST /crash: not_a_server_error",
        "GET /lie: response_schema_conformance",
        "GET /teapot: status_code_conformance",
    }
    assert {fault.partition(":")[0] for fault in unknown.faults} == {"GET /open"}
