"""What the warehouse publishes to those who read and write its entities, in the database `dwh`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nms.common.db.queries import load
from nms.common.db.repositories import BaseDwhRepository

queries = load("nms.connectors.warehouse")


@dataclass(frozen=True, slots=True)
class Built:
    """What is there of an entity: the document that its table has, None before there is a table."""

    name: str
    document: dict[str, Any] | None
    state: str
    problem: dict[str, Any] | None


class EntityRepository(BaseDwhRepository):
    """The entities and how far their tables are."""

    async def list_built(self, names: Sequence[str]) -> dict[str, Built]:
        """What is there of entities by name; those that the warehouse has not heard of are left out."""
        rows = await queries.list_entities(self.connection, names=list(names))
        return {row["name"]: Built(**row) for row in rows}
