"""Exports of many records: how fast, how much memory the role takes more, and the hash beside the one of SQL.

`python -m bench.warehouse.export [--rows 5000000] [--keep DIRECTORY]`; a directory that is kept is filled once.
"""

import argparse
import asyncio
import gzip
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pyarrow.parquet
from backports import zstd

from bench.meter import cpu_seconds, peak_mib
from nms.common.db.dsn import DSNType
from nms.common.db.embedded import Embedded
from nms.common.db.migrations import upgrade
from nms.common.db.pool import close_pools
from nms.common.db.revisions import folder_of
from nms.common.settings import get_settings
from nms.common.token import mint_token
from tests.service.role_process import running
from tests.service.test_export_stream import fill
from tests.service.warehouse import make_entities

QUERIES = (
    "format=ndjson",
    "format=ndjson&compression=zstd",
    "format=csv",
    "format=csv&compression=gzip",
    "format=parquet",
)
HASH = (
    "select encode(sha256(string_agg(sha256(convert_to(_json, 'UTF8')), ''::bytea order by id)), 'hex')"
    " from entity.posts"
)


async def measure(rows: int, folder: Path) -> None:
    server = Embedded(folder / "server")
    await server.start()
    try:
        await server.create_database("dwh")
        os.environ |= {"DB_DWH_DSN": server.dsn("dwh"), "DATA_DIR": str(folder / "data"), "ENVIRONMENT": "test"}
        get_settings.cache_clear()
        connection = await asyncpg.connect(server.dsn("dwh"), command_timeout=3600)
        await prepare(connection, rows)
        began = time.monotonic()
        expected = await connection.fetchval(HASH)
        print(f"hash in SQL: {expected[:12]}... in {time.monotonic() - began:.1f} s")
        for query in QUERIES:
            await export(folder, query, expected)
        await connection.close()
        await close_pools()
    finally:
        await server.stop()


async def prepare(connection: Any, rows: int) -> None:
    await upgrade(os.environ["DB_DWH_DSN"], folder_of(DSNType.DWH) / "migrations")
    if await connection.fetchval("select to_regclass('entity.posts')") is None:
        began = time.monotonic()
        await make_entities()
        await fill(connection, rows)
        await connection.execute("vacuum analyze entity.posts")
        print(f"{rows} records were made in {time.monotonic() - began:.1f} s")


async def export(folder: Path, query: str, expected: str) -> None:
    """Stream one into a file, from a role of its own, and tell what it cost."""
    environment = {"DB_DWH_DSN": os.environ["DB_DWH_DSN"], "DATA_DIR": os.environ["DATA_DIR"]}
    token = mint_token(get_settings(), ["entities:read"], subject="bench")
    path = folder / "export"
    async with (
        running("nms.warehouse.main:app", folder, environment=environment) as role,
        httpx2.AsyncClient(base_url=role.address, headers={"Authorization": f"Bearer {token}"}, timeout=600) as client,
    ):
        await client.get("/posts?limit=1")
        pid = role.process.pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        before, cpu, began = peak_mib(pid), cpu_seconds(pid), time.monotonic()
        with path.open("wb") as file:
            async with client.stream("GET", f"/posts/export?{query}") as answer:
                async for chunk in answer.aiter_raw():
                    file.write(chunk)
        seconds = time.monotonic() - began
        told = closing_of(path, query)
        verdict = "hash as in SQL" if told["sha256"] == expected else "WRONG HASH"
        print(
            f"{query}: {int(told['rows']) / seconds:,.0f} records/s, {path.stat().st_size / 1e6:,.0f} MB,"
            f" {cpu_seconds(pid) - cpu:.1f} s CPU of the role, {peak_mib(pid) - before:.1f} MiB more"
            f" than {before:.1f}, {verdict}"
        )


def closing_of(path: Path, query: str) -> dict[str, str]:
    """Its closing record."""
    if "parquet" in query:
        metadata = pyarrow.parquet.read_metadata(path).metadata
        return {name.decode().removeprefix("nms."): value.decode() for name, value in metadata.items()}
    opened: Any = {"gzip": gzip.open, "zstd": zstd.open}.get(query.partition("compression=")[2], open)
    last = b""
    with opened(path, "rb") as file:
        for line in file:
            last = line
    if "csv" in query:
        return dict(one.split("=") for one in last.decode().split()[1:])
    return {name: str(value) for name, value in json.loads(last)["_end"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="bench-export-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(measure(given.rows, folder))
    finally:
        if given.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
