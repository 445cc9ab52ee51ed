"""Statements of the warehouse: what is built of each entity."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from nms.common.db.pool import connect
from nms.common.db.problems import DRIVER_ERRORS, translated
from nms.common.db.queries import load
from nms.common.db.repositories import BaseDwhRepository
from nms.warehouse.alteration import Standing
from nms.warehouse.models import Entity
from nms.warehouse.table import has_null, lock_table, rewrite_records

queries = load("nms.warehouse")
CLOSE_SECONDS = 5.0


class EntityRepository(BaseDwhRepository):
    """The registry of entities, and their tables."""

    @classmethod
    @asynccontextmanager
    async def apart(cls) -> AsyncIterator[Self]:
        """Over a connection of its own, for statements that take long and stand in no transaction."""
        connection = await connect(cls._dsn_type)
        try:
            yield cls(connection)
        finally:
            # A statement that was cancelled is first told to the server.
            with suppress(*DRIVER_ERRORS):
                await connection.close(timeout=CLOSE_SECONDS)

    async def lock_adoption(self) -> None:
        """Keep other workers from following the documents until the end of the transaction."""
        await queries.lock_adoption(self.connection)

    async def get_entity(self, name: str) -> Entity | None:
        """One entity as it is registered."""
        row = await queries.get_entity(self.connection, name=name)
        return None if row is None else Entity(**row)

    async def list_entities(self) -> list[Entity]:
        """All entities that were ever declared, by name."""
        return [Entity(**row) for row in await queries.list_entities(self.connection)]

    async def upsert_wanted(self, name: str, wanted: Mapping[str, Any], revision: int) -> None:
        """Note what the configuration wants an entity to be."""
        await queries.upsert_wanted(self.connection, name=name, wanted=wanted, revision=revision)

    async def mark_built(self, name: str, document: Mapping[str, Any], revision: int, form: str) -> None:
        """Note what an entity now is."""
        await queries.mark_built(self.connection, name=name, document=document, revision=revision, form=form)

    async def mark_halted(self, name: str, revision: int, problem: Mapping[str, Any]) -> None:
        """Note why an entity cannot become what the configuration of this revision wants."""
        await queries.mark_halted(self.connection, name=name, revision=revision, problem=problem)

    async def mark_hidden(self, name: str, revision: int) -> None:
        """Note that the configuration of this revision has no such entity; its table stays."""
        await queries.mark_hidden(self.connection, name=name, revision=revision)

    async def get_table(self, name: str) -> Standing | None:
        """The table of an entity as it stands."""
        row = await queries.get_table(self.connection, name=name)
        if row is None:
            return None
        return Standing.of(
            {"columns": row["columns"], "key": row["key"], "indexes": row["indexes"], "rows": row["rows"]}
        )

    async def get_last_sequence(self) -> int:
        """The last sequence that was taken."""
        return int(await queries.get_last_sequence(self.connection))

    async def lock_table(self, name: str, seconds: float, *, alone: bool) -> None:
        """Wait for the writers of a table, so many seconds at most; raises LockTimeout."""
        await self.run_statements([f"set local lock_timeout = {round(seconds * 1000)}", lock_table(name, alone=alone)])

    async def rewrite_records(self, name: str, span: tuple[int, int], size: int, seconds: float) -> tuple[int, int]:
        """Write the first records of a span (after, upto) anew; gives the last one's sequence, and how many were read.

        Waits so long for others that hold one of them; raises LockTimeout. Behind the last one: (upto, 0).
        """
        async with self.transaction() as tx:
            await tx.run_statements([f"set local lock_timeout = {round(seconds * 1000)}"])
            with translated():
                row = await tx.connection.fetchrow(rewrite_records(name), *span, size)
        return (span[1], 0) if row["last"] is None else (row["last"], row["count"])

    async def has_null(self, name: str, field: str) -> bool:
        """Whether any record lacks a field."""
        with translated():
            return bool(await self.connection.fetchval(has_null(name, field)))

    async def get_settled(self) -> int:
        """Up to which sequence everything is written or never will be, for statements that come later."""
        return int(await queries.get_settled(self.connection))

    async def run_statements(self, statements: Iterable[str]) -> None:
        """Run statements of `table` one after the other; raises Problems."""
        with translated():
            for statement in statements:
                await self.connection.execute(statement)
