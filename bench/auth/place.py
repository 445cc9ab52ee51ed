"""Where auth is measured: a durable PostgreSQL of its own, the role under gunicorn, and accounts to log in with."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from uuid import UUID

import asyncpg

from bench.auth.connection import Connection, connect
from nms.auth.password import Passwords, normalise_password
from nms.common.db.migrations import upgrade
from nms.common.settings import get_settings
from tests.service.role_process import GUNICORN, RoleProcess, children_of, running
from tests.services.postgres import PostgresServer

MIGRATIONS = Path(__file__).parents[2] / "db" / "auth" / "migrations"
PASSWORD = "correct horse battery staple 42"
SERVER = {"shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min", "max_connections": "200"}
"""No checkpoint falls into one trial; fsync stays on."""
ENVIRONMENT = {
    "ENVIRONMENT": "test",
    "JWT_SECRET_KEY": "only-for-a-measurement-on-loopback-0123456789",
    "SECRETS_KEY": "also-only-for-a-measurement-on-loopback-0123456789",
}
INSERT_ACCOUNTS = """
insert into auth.account (email, email_key, password, disabled)
select email, email, $2, $3 from unnest($1::text[]) as given (email) returning id
"""
INSERT_ROLES = "insert into auth.account_role (account_id, role) select unnest($1::uuid[]), 'viewer'"


@dataclass
class Place:
    """A running auth role and the means to fill its database."""

    role: RoleProcess
    database: asyncpg.Connection
    server: PostgresServer
    hashed: str
    networks: int = 0

    @property
    def port(self) -> int:
        """Where the role listens."""
        return int(self.role.address.rpartition(":")[2])

    def backends(self) -> list[int]:
        """The processes of PostgreSQL."""
        return [self.server.pid, *children_of(self.server.pid)]

    async def add_accounts(self, kind: str, count: int, *, disabled: bool = False) -> list[str]:
        """Accounts with the role viewer and PASSWORD; answers their e-mails, all of one length."""
        emails = [f"{kind:x<10}{number:06}@example.org" for number in range(count)]
        rows: list[UUID] = [
            row["id"] for row in await self.database.fetch(INSERT_ACCOUNTS, emails, self.hashed, disabled)
        ]
        await self.database.execute(INSERT_ROLES, rows)
        return emails

    async def connect_anew(self) -> Connection:
        """A connection from an address that nobody has used, so that no network is held up for another's attempts."""
        self.networks += 1
        low = self.networks
        return await connect(self.port, f"127.{1 + low // 62500}.{1 + low // 250 % 250}.{1 + low % 250}")


@asynccontextmanager
async def open_place(folder: Path, workers: int) -> AsyncIterator[Place]:
    """The role with so many processes, and an empty migrated database."""
    server = PostgresServer("18", settings=SERVER)
    await server.start()
    try:
        dsn = await server.create_database("auth")
        await upgrade(dsn, MIGRATIONS)
        gunicorn = (*GUNICORN, "uvicorn_worker.UvicornWorker", "--workers", str(workers))
        environment = {**ENVIRONMENT, "DB_AUTH_DSN": dsn}
        with settings_of(environment):
            database = await asyncpg.connect(dsn)
            async with running("nms.auth.main:app", folder, server=gunicorn, environment=environment) as role:
                yield Place(role, database, server, await hash_once())
            await database.close()
    finally:
        await server.close()


@contextmanager
def settings_of(environment: Mapping[str, str]) -> Iterator[None]:
    """The settings of the role in this process too: whose attempts are held up is kept under a keyed hash."""
    try:
        with patch.dict(os.environ, environment):
            get_settings.cache_clear()
            yield
    finally:
        get_settings.cache_clear()


async def hash_once() -> str:
    """The hash of PASSWORD, made as the role makes it."""
    passwords = Passwords(hashes=1, waiting=1)
    try:
        return await passwords.hash(normalise_password(PASSWORD))
    finally:
        passwords.close()
