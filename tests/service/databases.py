"""Questions that tests of migrations ask a database."""

import asyncio
from typing import Any

import asyncpg


async def ask(dsn: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def run(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def tables(dsn: str) -> list[str]:
    return await ask(dsn, "select relname from pg_class where relnamespace = 'public'::regnamespace order by 1")


async def until(dsn: str, sql: str) -> list[Any]:
    """The rows of a question, asked again until there are some."""
    async with asyncio.timeout(90):
        while not (rows := await ask(dsn, sql)):
            pass
    return rows
