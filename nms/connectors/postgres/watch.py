"""Watches a slot while it is read: retained log, lost slots and publications, the heartbeat."""

import asyncio
import time
from collections.abc import Callable, Sequence

import asyncpg

from nms.connectors.postgres.alterations import add_key, drop_from_publication
from nms.connectors.postgres.catalog import Connection, Table, queries
from nms.connectors.postgres.drift import Pause, renamed
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.slot import (
    SlotState,
    lacks,
    measure_slot,
    plan_publications,
    publication_names,
    unpublished,
)

WATCH_SECONDS = 3.0


class Watch:
    """Measures a slot every few seconds; `is_tight` says that the backfill must wait."""

    def __init__(self, connection: Connection, slot: str, tables: Callable[[], Sequence[Table]], budget: int) -> None:
        self._connection = connection
        self._slot = slot
        self._tables = tables
        self._budget = budget
        self.state: SlotState | None = None
        self.lose: Callable[[str, Pause], None] = lambda _, __: None

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
                await self._look_again()
                await queries.insert_message(
                    self._connection, prefix="nms.heartbeat", content=f"{session}:{time.monotonic()}"
                )
                await asyncio.sleep(WATCH_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error, at="source") from error

    async def _look_again(self) -> None:
        try:
            await self._look()
        except asyncpg.InternalServerError:
            # A table that is dropped while the server lists the published ones is an error of its own making there.
            await self._look()

    async def _look(self) -> None:
        tables = self._tables()
        plan = plan_publications(self._slot, tables)
        for name, (members, _) in plan.items():
            wanted = [table for table in tables if table.own in members]
            missing = await unpublished(self._connection, name, wanted)
            gone = [table for table in missing if await self._is_lost(table)]
            if len(gone) < len(missing):
                raise lacks(name, [table for table in missing if table not in gone])
        keyed = [table for table in self._tables() if table.log_key()]
        rows = await queries.list_nameless(self._connection, oids=[table.oid for table in keyed])
        nameless = {row["oid"] for row in rows}
        for table in keyed:
            if table.oid in nameless:
                await self._release(table)

    async def _is_lost(self, table: Table) -> bool:
        """Whether a table that is not published was dropped or renamed; it is left out then."""
        row = await queries.get_table_name(self._connection, oid=table.oid)
        if row is None:
            self.lose(table.asked, Pause("table-gone", f"{table.asked} was dropped at the source"))
            return True
        if (row["schema"], row["relation"]) == (table.schema, table.relation):
            return False
        now = (row["schema"], row["relation"])
        self.lose(table.asked, renamed(table.asked, (table.schema, table.relation), now))
        return True

    async def _release(self, table: Table) -> None:
        # As long as it is published the source refuses every update of it, and that must not be our doing.
        name = publication_names(self._slot)[0]
        await self._connection.execute(drop_from_publication(name, table.quoted))
        text = f"{table.asked} has lost its key, so its changes no longer say which row they are of"
        self.lose(table.asked, Pause("key-lost", text, add_key(table.quoted, table.log_key())))

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close(timeout=5)
