"""Making an entity what its document says."""

from nms.common.document import EntityDocument, normal_form
from nms.warehouse.repository import EntityRepository
from nms.warehouse.table import create_table


async def make_entity(repository: EntityRepository, document: EntityDocument, revision: int) -> None:
    """Make the table of an entity that has none, and let it be served."""
    body = normal_form(document)
    async with repository.transaction() as tx:
        await tx.upsert_wanted(document.name, body, revision)
        await tx.run_statements(create_table(document))
        await tx.mark_built(document.name, body, revision)
