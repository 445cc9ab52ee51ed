"""An app that trusts auth, and what auth would have written: keys, sessions, revocations, service tokens."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from nms.common import service_token, web
from nms.common.guard import Caller, requires
from nms.common.router import Router
from nms.common.settings import RoleSettings, Settings
from nms.common.trust import Feed
from nms.common.verifier import Verifier
from tests.service.web_client import client_of

router = Router()


@router.get("/door")
async def open_door(caller: Caller = requires("doors:read")) -> dict[str, str]:
    return {"subject": caller.subject, "kind": caller.kind}


ROLE = web.Role(name="demo", summary="", description="", routers=[router])


@dataclass
class Signer:
    """A key of auth."""

    kid: str = field(default_factory=lambda: uuid4().hex)
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def sign(self, **claims: Any) -> str:
        return jwt.encode(
            claims_of(**claims), self.private, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": self.kid}
        )


def claims_of(**claims: Any) -> dict[str, Any]:
    """What auth puts into an access token."""
    now = int(time.time())
    own = {"sub": str(uuid4()), "sid": str(uuid4()), "jti": uuid4().hex, "rev": 1, "scope": "doors:read"}
    return {"iss": "nms", "aud": "nms", "iat": now, "nbf": now, "exp": now + 600, **own, **claims}


class Auth:
    """The database of auth, written to as the role auth would."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection

    async def add_key(self, signer: Signer) -> None:
        """Make a key the current one; the one before verifies for 10 more minutes."""
        async with self.connection.transaction():
            await self.connection.execute(
                "update auth.signing_key set verifies_until = now() + interval '10 min' where verifies_until is null"
            )
            await self.connection.execute(
                "insert into auth.signing_key (kid, algorithm, public_key, sealed_key) values ($1, 'EdDSA', $2, '')",
                *(signer.kid, signer.public),
            )

    async def revoke(self, kind: str, subject: str, revision: int | None = None) -> None:
        await self.connection.execute(
            "insert into auth.revocation (kind, subject, revision, expires_at)"
            " values ($1, $2, $3, now() + interval '11 min')",
            *(kind, subject, revision),
        )

    async def add_service(self, *scopes: str, name: str = "") -> tuple[str, str]:
        """A service token and its id."""
        token, name = service_token.make(), name or f"m{uuid4().hex}"
        number = await self.connection.fetchval(
            "insert into auth.service_token (name, scopes, created_by) values ($1, $2, 'test') returning id::text",
            *(name, list(scopes)),
        )
        await self.add_secret(number, token)
        return token, number

    async def add_secret(self, number: str, token: str) -> None:
        await self.connection.execute(
            "insert into auth.service_secret (hash, service_token_id, hint) values ($1, $2::text::uuid, 'hint')",
            *(service_token.hash_of(token), number),
        )

    async def last_used(self, number: str) -> Any:
        """When a service token was last used."""
        return await self.connection.fetchval(
            "select max(last_used_at) from auth.service_secret where service_token_id = $1::text::uuid", number
        )


@asynccontextmanager
async def auth_of(dsn: str) -> AsyncIterator[Auth]:
    connection = await asyncpg.connect(dsn)
    try:
        yield Auth(connection)
    finally:
        await connection.close()


@dataclass
class Door:
    """A living app, and whom it lets in."""

    app: FastAPI
    client: httpx2.AsyncClient

    @property
    def feed(self) -> Feed:
        assert isinstance(self.verifier.trust, Feed)
        return self.verifier.trust

    @property
    def verifier(self) -> Verifier:
        app: Any = self.app
        assert isinstance(app.verifier, Verifier)
        return app.verifier

    async def answer(self, token: str) -> httpx2.Response:
        return await self.client.get("/door", headers={"Authorization": f"Bearer {token}"})

    async def status(self, token: str) -> int:
        return (await self.answer(token)).status_code

    def refuses(self, token: str) -> Callable[[], Any]:
        """For `eventually`: whether the token is refused by now."""
        return partial(self._answers, token, 401)

    def lets_in(self, token: str) -> Callable[[], Any]:
        """For `eventually`: whether the token is let in by now."""
        return partial(self._answers, token, 200)

    async def is_away(self) -> bool:
        """For `eventually`: whether the last look at auth failed; it looks now."""
        self.feed._wake.set()
        return not self.feed.is_current

    async def _answers(self, token: str, status: int) -> bool:
        return await self.status(token) == status


@asynccontextmanager
async def door_of(settings: Settings) -> AsyncIterator[Door]:
    app = web.create_app(ROLE, settings, RoleSettings())
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield Door(app, client)
