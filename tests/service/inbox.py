"""Senders of webhooks, and what the inbox stored of them."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.settings import Settings
from nms.inbox.main import create_app
from tests.service.web_client import client_of

SECRET = "a-secret-of-a-hook"
SHOP = {"kind": "endpoint", "name": "shop", "scheme": {"type": "github", "secrets": ["env://SHOP_HOOK"]}}


async def declare(*documents: Mapping[str, Any]) -> None:
    await apply_changeset(
        await DocumentRepository.open(), Changeset([Draft(dict(one)) for one in documents], author="test")
    )


def signed(body: bytes, identity: str, secret: str = SECRET) -> dict[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={signature}",
        "X-GitHub-Delivery": identity,
        "X-GitHub-Event": "push",
        "Content-Type": "application/json",
    }


@asynccontextmanager
async def receiving(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def stored(settings: Settings) -> list[asyncpg.Record]:
    assert settings.db_nms_dsn is not None
    connection = await asyncpg.connect(settings.db_nms_dsn.get_secret_value())
    try:
        return list(
            await connection.fetch("select id, endpoint, type, body from inbox.event order by received_at, item, id")
        )
    finally:
        await connection.close()


async def send(client: httpx2.AsyncClient, body: bytes, identity: str, path: str = "/in/shop") -> httpx2.Response:
    return await client.post(path, content=body, headers=signed(body, identity))
