"""Statements of the warehouse: what is built of each entity."""

from collections.abc import Iterable, Mapping
from typing import Any

from nms.common.db.problems import translated
from nms.common.db.queries import load
from nms.common.db.repositories import BaseDwhRepository
from nms.warehouse.models import Entity

queries = load("nms.warehouse")


class EntityRepository(BaseDwhRepository):
    """The registry of entities, and their tables."""

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

    async def mark_built(self, name: str, document: Mapping[str, Any], revision: int) -> None:
        """Note what an entity now is."""
        await queries.mark_built(self.connection, name=name, document=document, revision=revision)

    async def get_settled(self) -> int:
        """Up to which sequence everything is written or never will be, for statements that come later."""
        return int(await queries.get_settled(self.connection))

    async def run_statements(self, statements: Iterable[str]) -> None:
        """Run statements of `table` one after the other; raises Problems."""
        with translated():
            for statement in statements:
                await self.connection.execute(statement)
