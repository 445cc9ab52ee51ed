"""Watches a slot while it is read: retained log, lost slots and publications, the heartbeat."""

import asyncio
import time
from collections.abc import Sequence

import asyncpg

from nms.connectors.postgres.catalog import Connection, Table, queries
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.slot import SlotState, check_publications, measure_slot

WATCH_SECONDS = 3.0


class Watch:
    """Measures a slot every few seconds; `is_tight` says that the backfill must wait."""

    def __init__(self, connection: Connection, slot: str, tables: Sequence[Table], budget: int) -> None:
        self._connection = connection
        self._slot = slot
        self._tables = tables
        self._budget = budget
        self.state: SlotState | None = None

    def over_budget(self) -> bool:
        """Whether the source retains more log than it should."""
        return self.state is not None and self.state.retained > self._budget

    def is_tight(self) -> bool:
        """Whether the source retains so much log that a copy must not add to it: half of what it may."""
        return self.state is not None and self.state.retained > self._budget // 2

    async def run(self, session: str) -> None:
        """Measure and beat until something is wrong; raises its Problem."""
        try:
            while True:
                self.state = await measure_slot(self._connection, self._slot)
                await check_publications(self._connection, self._slot, self._tables)
                await queries.insert_message(
                    self._connection, prefix="nms.heartbeat", content=f"{session}:{time.monotonic()}"
                )
                await asyncio.sleep(WATCH_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error, at="source") from error

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close(timeout=5)
