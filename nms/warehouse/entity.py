"""Making an entity what its document says: what can be done beside writers is done, what cannot is told."""

from nms.common.document import EntityDocument, normal_form
from nms.warehouse.alteration import Obstacle, Standing, list_obstacles
from nms.warehouse.models import Entity, read_entity
from nms.warehouse.problems import EntityNeedsPlan
from nms.warehouse.repository import EntityRepository
from nms.warehouse.table import create_table, fill_field, form_of


async def make_entity(repository: EntityRepository, document: EntityDocument, revision: int) -> None:
    """Make the table of an entity that has none, and let it be served."""
    body = normal_form(document)
    async with repository.transaction() as tx:
        await tx.upsert_wanted(document.name, body, revision)
        await tx.run_statements(create_table(document))
        await tx.mark_built(document.name, body, revision, form_of(document))


async def find_obstacles(repository: EntityRepository, document: EntityDocument, standing: Standing) -> list[Obstacle]:
    """What needs a plan: another type or key; and, where the columns are there, records without a required field."""
    obstacles = list_obstacles(document, standing)
    for name, field in document.fields.items():
        column = standing.columns.get(name)
        if not field.required or column is None or column.required:
            continue
        if await repository.has_null(document.name, name):
            told = f"there are records of `{document.name}` without `{name}`, which is to be required"
            obstacles.append(Obstacle(told, fill_field(document.name, name)))
    return obstacles


def plan_needed(name: str, obstacles: list[Obstacle]) -> EntityNeedsPlan:
    """The problem that tells obstacles."""
    told = "; ".join(each.sentence for each in obstacles)
    return EntityNeedsPlan(f"{told}.", entity=name, obstacles=[each.to_dict() for each in obstacles])


async def is_way_free(repository: EntityRepository, entity: Entity) -> bool:
    """Whether what an entity is halted by is gone."""
    if entity.problem is None or entity.problem.get("code") != EntityNeedsPlan.code:
        return False
    standing = await repository.get_table(entity.name)
    return standing is None or not await find_obstacles(repository, read_entity(entity.wanted), standing)
