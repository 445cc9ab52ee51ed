"""`python -m bench.rest.bare`: what anybody could write in an hour, as fast as it goes: pages handed on as they came.

Plain asyncio streams that stay open; numbered pages are asked for eight at a time, and pages are written while the
next are fetched, each by one upsert, all in one transaction. Nothing is remembered, checked, retried or resumed.
Prints when all was committed (seconds of the monotonic clock).
"""

import argparse
import asyncio
import time
from typing import Any

import asyncpg
import orjson
import uvloop

UPSERT = """
insert into {table} select x.* from json_to_recordset($1::json -> 'data')
  as x(id bigint, name text, email text, city text, amount numeric, active boolean, updated_at timestamptz, note text)
on conflict (id) do update set name = excluded.name, email = excluded.email, city = excluded.city,
  amount = excluded.amount, active = excluded.active, updated_at = excluded.updated_at, note = excluded.note
"""
Pages = asyncio.Queue[bytes | None]


class Connection:
    """A connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))

    async def get(self, target: str) -> bytes:
        """The body of an answer."""
        self.writer.write(f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        return await self.reader.readexactly(length)


async def fetch_numbered(port: int, width: int, pages: Pages) -> None:
    connections = await asyncio.gather(*(Connection.open(port) for _ in range(width)))
    first = await connections[0].get("/numbered?page=1")
    await pages.put(first)
    left = iter(range(2, -(-orjson.loads(first)["total"] // 100) + 1))

    async def fetch(connection: Connection) -> None:
        for number in left:
            await pages.put(await connection.get(f"/numbered?page={number}"))

    await asyncio.gather(*(fetch(connection) for connection in connections))
    await pages.put(None)


async def fetch_cursor(port: int, pages: Pages) -> None:
    connection = await Connection.open(port)
    target: str | None = "/cursor"
    while target is not None:
        page = await connection.get(target)
        await pages.put(page)
        cursor = orjson.loads(page)["next"]
        target = cursor and f"/cursor?cursor={cursor}"
    await pages.put(None)


async def write(dsn: str, table: str, pages: Pages) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=lambda body: body, decoder=bytes, format="binary"
    )
    statement = await connection.prepare(UPSERT.format(table=table))
    async with connection.transaction():
        while (page := await pages.get()) is not None:
            await statement.fetch(page)
    await connection.close()


async def main(options: Any) -> None:
    pages: Pages = asyncio.Queue(64)
    fetching = (
        fetch_cursor(options.port, pages)
        if options.style == "cursor"
        else fetch_numbered(options.port, options.width, pages)
    )
    await asyncio.gather(fetching, write(options.dsn, options.table, pages))
    print(time.monotonic())


if __name__ == "__main__":
    parser = argparse.ArgumentParser("bench.rest.bare", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--table", default="record")
    parser.add_argument("--style", choices=("numbered", "cursor"), required=True)
    parser.add_argument("--width", type=int, default=8)
    uvloop.run(main(parser.parse_args()))
