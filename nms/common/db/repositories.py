"""Repositories: a database behind methods, the same ones in and out of a transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Self, TypeVar

import asyncpg

from nms.common.db.dsn import DSNType
from nms.common.db.pool import ACQUIRE_SECONDS, get_pool
from nms.common.db.problems import DRIVER_ERRORS, SERVER_ERRORS, instead_of, translated


class BaseRepository:
    """Binds statements to a database; a subclass names the database by `_dsn_type`."""

    _dsn_type: ClassVar[DSNType]

    def __init__(self, connection: Any) -> None:
        self.connection: Any = connection

    @classmethod
    async def open(cls) -> Self:
        """A repository over the pool of its database."""
        return cls(await get_pool(cls._dsn_type))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """The same repository bound to one connection in one transaction; inside another one: a savepoint.

        Committed when the block ends, rolled back when it raises. A commit may raise TransactionConflict.
        """
        async with self._lend() as connection:
            transaction = connection.transaction()
            with translated():
                await transaction.start()
            try:
                yield type(self)(connection)
            except BaseException as error:
                with suppress(*DRIVER_ERRORS):
                    await transaction.rollback()
                if isinstance(error, SERVER_ERRORS):
                    raise instead_of(error) from error
                raise
            with translated():
                await transaction.commit()

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Any]:
        if not isinstance(self.connection, asyncpg.Pool):
            yield self.connection
            return
        with translated():
            lent = await self.connection.acquire(timeout=ACQUIRE_SECONDS)
        try:
            yield lent
        finally:
            with translated():
                await self.connection.release(lent)


class BaseAuthRepository(BaseRepository):
    """A repository of the database `auth`."""

    _dsn_type = DSNType.AUTH


class BaseNmsRepository(BaseRepository):
    """A repository of the database `nms`."""

    _dsn_type = DSNType.NMS


class BaseDwhRepository(BaseRepository):
    """A repository of the database `dwh`."""

    _dsn_type = DSNType.DWH


R = TypeVar("R", bound=BaseRepository)


def get_db_repository(repository: type[R]) -> Callable[[], Awaitable[R]]:
    """A FastAPI dependency that opens a repository; it opens no transaction (a use case does)."""

    async def open_repository() -> R:
        return await repository.open()

    return open_repository
