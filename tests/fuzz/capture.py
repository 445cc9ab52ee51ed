"""Captures real payloads of pgoutput once: `python -m tests.fuzz.capture` writes `payloads.json` beside this file.

Each of its sessions names the server's version, the protocol and the form, and has the payloads in order as hex.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.statements import start_replication
from nms.connectors.postgres.wal import WalStream
from tests.services.postgres import PostgresServer

FILE = Path(__file__).with_name("payloads.json")
SCRIPT = Path(__file__).with_name("capture.sql")
PROTOCOLS = {"15": ("1", "3"), "16": ("4",), "18": ("1", "2", "4")}
STOP = "fuzz.stop"
DDL = """
create table a (id int primary key, v text, n numeric(10, 2), at timestamptz, big text, tags text[]);
alter table a alter big set storage external;
create table b (x int, y text, v bytea, primary key (x, y));
create table c (id uuid primary key, j jsonb, f float8); alter table c replica identity full;
create table d (id int, a_id int references a on delete cascade);
alter table d replica identity full;
create publication p for table a, b, c, d with (publish_via_partition_root = true);
"""
Connection = Any


async def main() -> None:
    """Write what every protocol and form gives for one script."""
    sessions = []
    for version, protocols in PROTOCOLS.items():
        server = await PostgresServer(version, durable=False).start()
        try:
            for protocol in protocols:
                for binary in (True, False):
                    payloads = await capture(server, protocol, binary=binary)
                    facts = {"server": version, "protocol": protocol, "binary": binary}
                    sessions.append(facts | {"payloads": [one.hex() for one in payloads]})
        finally:
            await server.close()
    FILE.write_text(json.dumps(sessions, indent=0) + "\n")


async def capture(server: PostgresServer, protocol: str, *, binary: bool) -> list[bytes]:
    """The payloads of the script in one protocol and form."""
    dsn = await server.create_database()
    async with connected(dsn) as one, connected(dsn) as two:
        await one.execute(DDL)
        slot = "s" + dsn.rsplit("_", 1)[1]
        made = await one.fetchval("select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')", slot)
        for line in SCRIPT.read_text().split(";\n"):
            await (two if line.strip().startswith("--2") else one).execute(line)
        await one.execute("select pg_logical_emit_message(true, $1, '')", STOP)
        options = {"proto_version": protocol, "publication_names": "p", "binary": str(binary).lower(), "messages": "on"}
        if protocol != "1":
            options["streaming"] = "on"
        return await read(server, dsn, start_replication(slot, made, options))


async def read(server: PostgresServer, dsn: str, start: str) -> list[bytes]:
    """What a slot gives up to the last message of the script."""
    payloads: list[bytes] = []
    done = asyncio.Event()

    def take(payload: bytes) -> None:
        payloads.append(payload)
        if payload[:1] in b"Cc" and any(STOP.encode() in one for one in payloads[-3:]):
            done.set()

    async def room() -> None:
        return

    name = dsn.rsplit("/", 1)[1]
    await server.execute(f"alter database \"{name}\" set logical_decoding_work_mem = '64kB'")
    if server.version != "15":
        await server.execute(f'alter database "{name}" set debug_logical_replication_streaming = immediate')
    stream = await WalStream.open(Access("source", dsn), name="fuzz", start=start, confirmed=0, idle=lambda: False)
    reading = asyncio.create_task(stream.read(take, room))
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({reading, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    reading.cancel()
    waiting.cancel()
    await asyncio.gather(reading, waiting, return_exceptions=True)
    await stream.close()
    assert done.is_set()
    return payloads


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """A session."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
