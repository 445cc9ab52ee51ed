"""What a pipeline needs of the warehouse: entities that are built as it knows them, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from nms.common.document import EntityDocument, SystemDocument, WarehouseSystem
from nms.common.finding import Finding
from nms.common.problem import Problem
from nms.connectors.warehouse.problems import EntityBehind, EntityNotBuilt
from nms.connectors.warehouse.repository import Built, EntityRepository

_OURS: Final = frozenset({"triggers-fire", "target-filled", "outer-reference"})
_DECLARED: Final = frozenset({"column-missing", "column-left-out", "column-unfed", "type-differs", "type-narrower",
                              "key-missing"})  # fmt: skip
_DECLARE: Final = "Change `fields` of the pipeline, or the entity's own document: `nms apply` alters its table."
Pointers = Mapping[str, str]
"""Where in a pipeline's document an entity stands, by its name."""


async def require_built(entities: Mapping[str, EntityDocument]) -> None:
    """Raise EntityNotBuilt or EntityBehind for the first entity whose table is not as its document says."""
    for problem in (await _judge(entities)).values():
        raise problem


async def check_entities(system: str, entities: Mapping[str, EntityDocument], pointers: Pointers) -> list[Finding]:
    """What stands in the way of reading or writing these entities; never raises a Problem."""
    try:
        judged = await _judge(entities)
    except Problem as problem:
        return [Finding(problem.code, problem.detail, system, remedy=problem.remedy, run_as="")]
    return [
        Finding(one.code, one.detail, system, pointer=pointers.get(name, ""), remedy=one.remedy, run_as="")
        for name, one in judged.items()
    ]


def suit_entities(findings: Sequence[Finding], target: SystemDocument) -> list[Finding]:
    """The findings as the warehouse as a target has them: documents change its tables, its triggers are ours."""
    if not isinstance(target, WarehouseSystem):
        return list(findings)
    own = [one for one in findings if one.system != target.name or one.code not in _OURS]
    return [
        replace(one, sql="", remedy=_DECLARE) if one.system == target.name and one.code in _DECLARED else one
        for one in own
    ]


async def _judge(entities: Mapping[str, EntityDocument]) -> dict[str, Problem]:
    if not entities:
        return {}
    built = await (await EntityRepository.open()).list_built(list(entities))
    judged = {name: _fault(entity, built.get(name)) for name, entity in entities.items()}
    return {name: problem for name, problem in judged.items() if problem is not None}


def _fault(entity: EntityDocument, built: Built | None) -> Problem | None:
    name, document = entity.name, None if built is None else built.document
    lacking = [field for field, one in entity.fields.items() if _differs(document or {}, field, one.type)]
    if not lacking:
        return None
    if built is not None and built.state == "halted":
        why = str((built.problem or {}).get("detail") or "its document changed")
        return EntityBehind(f"the entity {name} is halted: {why}", entity=name, cause=built.problem)
    if document is None:
        return EntityNotBuilt(f"the entity {name} has no table yet", entity=name)
    return EntityNotBuilt(f"the table of the entity {name} is without {', '.join(lacking[:5])}", entity=name)


def _differs(document: Mapping[str, object], field: str, kind: str) -> bool:
    fields = document.get("fields")
    known = fields.get(field) if isinstance(fields, dict) else None
    return known is None or known.get("type") != kind
