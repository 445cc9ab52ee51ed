"""The auth role with a database of its own, and what its callers do: log in, refresh, ask with a token."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI

from nms.auth.main import create_app
from nms.auth.repository import AuthRepository
from nms.common.db.dsn import DSNType
from nms.common.db.pool import Pool, get_pool
from nms.common.settings import Settings

PASSWORD = "correct horse battery"
INSERT_ACCOUNT = "insert into auth.account (email, email_key, password) values ($1, $1, $2) returning id"
INSERT_ROLE = "insert into auth.account_role (account_id, role) select $1, unnest($2::text[])"


@dataclass
class House:
    """The auth role of a test: its app, a client of it, its database."""

    app: FastAPI
    client: httpx2.AsyncClient
    pool: Pool
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> AuthRepository:
        """The statements of the room."""
        return AuthRepository(self.pool)

    async def add(self, email: str, *roles: str, password: str = PASSWORD) -> UUID:
        """An account with roles."""
        if password not in self.hashes:
            self.hashes[password] = await self.app.state.issuer.passwords.hash(password)
        account: UUID = await self.pool.fetchval(INSERT_ACCOUNT, email, self.hashes[password])
        await self.pool.execute(INSERT_ROLE, account, list(roles))
        return account

    async def try_login(self, email: str, password: str = PASSWORD, **fields: str) -> httpx2.Response:
        """What /token answers."""
        form = {"grant_type": "password", "username": email, "password": password, **fields}
        return await self.client.post("/token", data=form)

    async def log_in(self, email: str, password: str = PASSWORD, **fields: str) -> dict[str, Any]:
        """The tokens of a login that is let in."""
        answer = await self.try_login(email, password, **fields)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def refresh(self, token: str) -> httpx2.Response:
        """What /token/refresh answers."""
        return await self.client.post("/token/refresh", data={"refresh_token": token})

    async def ask(self, method: str, path: str, tokens: Mapping[str, Any], **options: Any) -> httpx2.Response:
        """A request with the access token."""
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return await self.client.request(method, path, headers=headers, **options)

    async def audited(self, action: str) -> list[Any]:
        """The lines of the audit with this action, the oldest first."""
        return await self.pool.fetch("select * from auth.audit where action = $1 order by id", action)


@asynccontextmanager
async def house_of(settings: Settings, address: str = "127.0.0.1") -> AsyncIterator[House]:
    """The auth role in this process, over the auth database of the settings."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app, client=(address, 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://nms") as client:
            yield House(app, client, await get_pool(DSNType.AUTH))
