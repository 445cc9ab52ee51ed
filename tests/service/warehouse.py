"""The warehouse of a test: its ready entities, and whoever asks it.

@pytest.fixture
def shared_dwh(dwh_database: str) -> str:      # a dwh of this test's own
    return dwh_database

async def test_it(settings: Settings) -> None:
    await make_entities()                      # those of examples/entities.yaml
    async with serving(settings) as client: ...
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from nms.cfg.text import read_drafts
from nms.common.document import EntityDocument, parse_document
from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.warehouse.entity import make_entity
from nms.warehouse.main import create_app
from nms.warehouse.repository import EntityRepository
from tests.service.web_client import client_of

LATER = 1_000_000
"""A revision behind all that a test makes: what is built by it follows no documents."""
LONG = 86_400
"""Seconds that tokens are good for: a long form on a busy machine takes longer than the usual ten minutes."""
READY = Path(__file__).parents[2] / "examples/entities.yaml"


def entity(name: str, fields: Mapping[str, str | Mapping[str, Any]], **parts: Any) -> EntityDocument:
    """A document of an entity with the key `id`; a field is its type, or all that is said of it."""
    given = {each: {"type": said} if isinstance(said, str) else said for each, said in fields.items()}
    document = parse_document({"kind": "entity", "name": name, "key": "id", "fields": given, **parts})
    assert isinstance(document, EntityDocument)
    return document


def ready_entities() -> list[EntityDocument]:
    """Those of examples/entities.yaml."""
    read = [parse_document(draft.data) for draft in read_drafts(READY.read_bytes())]
    return [each for each in read if isinstance(each, EntityDocument)]


async def make_entities(*documents: EntityDocument, revision: int = LATER) -> None:
    """Build entities in the dwh of `settings`; the ready ones where none are given. No worker takes them away."""
    repository = await EntityRepository.open()
    for document in documents or ready_entities():
        await make_entity(repository, document, revision)


@asynccontextmanager
async def serving(settings: Settings, *scopes: str, subject: str = "ada") -> AsyncIterator[httpx2.AsyncClient]:
    """The warehouse role in this process, asked by someone with these scopes; without any: all entities."""
    token = mint_token(settings, scopes or ("entities:read", "entities:write"), subject=subject, seconds=LONG)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app, token) as client:
        yield client


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A person at the dwh with psql."""
    assert settings.db_dwh_dsn is not None
    connection = await asyncpg.connect(settings.db_dwh_dsn.get_secret_value())
    try:
        yield connection
    finally:
        await connection.close()
