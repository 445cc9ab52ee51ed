"""Write db/<database>/schema.sql anew, from the migrations on PostgreSQL 18: `python -m tests.sql.write_schema`."""

import asyncio

from nms.common.db.dsn import DSNType
from nms.common.db.migrations import upgrade
from nms.common.db.revisions import folder_of
from nms.common.db.schema import dump_schema, schema_file
from tests.services.postgres import PostgresServer


async def write_schema() -> None:
    """Migrate an empty database of each kind and keep what it became."""
    server = await PostgresServer("18", durable=False).start()
    try:
        for kind in DSNType:
            dsn, folder = await server.create_database(), folder_of(kind) / "migrations"
            await upgrade(dsn, folder)
            schema_file(folder).write_text(await dump_schema(dsn), encoding="utf-8")
    finally:
        await server.close()


if __name__ == "__main__":
    asyncio.run(write_schema())
