"""Mock subscriptions: a table like the one of the examples, filled with as many rows as asked for."""

from importlib.resources import files

from nms.cli.demo.stage import queries
from nms.connectors.postgres.catalog import Connection

CHUNK = 50_000


async def create_table(connection: Connection) -> None:
    """Make the table `public.subscription` unless it is there."""
    await connection.execute((files("nms.cli.demo") / "tables.sql").read_text(encoding="utf-8"))


async def fill(connection: Connection, rows: int) -> int:
    """Insert so many mock subscriptions, always the same; those that are there stay as they are.

    Gives the number of new rows.
    """
    new = 0
    for first in range(1, rows + 1, CHUNK):
        new += await queries.insert_mock_subscriptions(connection, first=first, last=min(rows, first + CHUNK - 1))
    await queries.update_statistics(connection)
    return new
