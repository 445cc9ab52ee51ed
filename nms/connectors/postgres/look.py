"""Asks both databases what a table is now that the log says it changed."""

from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import Connection, Table, queries, read_tables
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.drift import own_types
from nms.connectors.postgres.layouts import Kind, unknown_types
from nms.connectors.postgres.pairing import Pair
from nms.connectors.postgres.pgoutput import Relation
from nms.connectors.postgres.statements import quote_table
from nms.connectors.postgres.tables import Look


class Looker:
    """Looks with sessions of its own, each as short as the question."""

    def __init__(self, spec: PipelineSpec, own: str, *, asks_target: bool) -> None:
        self._spec = spec
        self._own = own
        self._asks_target = asks_target

    async def ask(self, relation: Relation, one: Pair) -> Look:
        """The source's table as it is now, types of the relation that no column has now, the target's own types."""
        source = await catalog.connect(self._spec.source, name=self._own + "look", waits=False)
        try:
            present = await _present(source, relation, one)
            known = [one.source] if present is None else [one.source, present]
            kinds = await read_kinds(source, unknown_types(relation, known))
        finally:
            source.terminate()
        names = [] if present is None else own_types(present.columns)
        return Look(present, kinds, await self._own_types(names))

    async def _own_types(self, names: list[str]) -> dict[str, int]:
        if not names or not self._asks_target:
            return {}
        target = await catalog.connect(self._spec.target, name=self._own + "look")
        try:
            return {row["name"]: row["oid"] for row in await queries.list_own_types(target, names=names)}
        finally:
            target.terminate()


async def read_kinds(connection: Connection, unknown: list[tuple[int, int]]) -> dict[tuple[int, int], Kind]:
    """Types, with modifiers, as the server describes them; those that are gone are left out."""
    if not unknown:
        return {}
    oids, modifiers = zip(*unknown, strict=True)
    rows = await queries.list_types(connection, oids=list(oids), modifiers=list(modifiers))
    return {
        (row["oid"], row["modifier"]): Kind(row["type"], row["full_type"], row["portable"], row["type"])
        for row in rows
    }  # fmt: skip


async def _present(source: Connection, relation: Relation, one: Pair) -> Table | None:
    for name in (quote_table(relation.schema, relation.name), one.spec.source):
        found = (await read_tables(source, [name])).get(name)
        if found is not None and found.oid == relation.oid:
            return found
    return None
