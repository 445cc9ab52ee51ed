"""What stands in the way of entities, with the SQL that mends it."""

from nms.common.finding import Finding
from nms.warehouse.models import Entity
from nms.warehouse.problems import EntityHalted
from nms.warehouse.repository import EntityRepository


async def diagnose() -> list[Finding] | None:
    """What keeps entities from being what their documents say; None where none was ever declared."""
    entities = await (await EntityRepository.open()).list_entities()
    if not entities:
        return None
    return [finding for entity in entities if entity.state == "halted" for finding in _find(entity)]


async def probe_entities() -> None:
    """Raise EntityHalted where an entity cannot follow its document."""
    entities = await (await EntityRepository.open()).list_entities()
    halted = [each.name for each in entities if each.state == "halted"]
    if halted:
        raise EntityHalted(f"{', '.join(halted)} cannot follow their documents.", entities=halted)


def _find(entity: Entity) -> list[Finding]:
    problem = entity.problem or {}
    code, remedy = str(problem.get("code")), str(problem.get("remedy", ""))
    obstacles = problem.get("obstacles") or [{"sentence": str(problem.get("detail")), "statement": ""}]
    return [
        Finding(
            code,
            f"entity {entity.name} cannot follow its document: {each['sentence']}",
            "dwh",
            sql=each["statement"],
            run_as="the login of the role warehouse",
            remedy="" if each["statement"] else remedy,
        )
        for each in obstacles
    ]
