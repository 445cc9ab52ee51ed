"""What a pipeline asks of the entities at an end that is the warehouse."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from nms.common.document import DatasetMapping, EntityDocument, PipelineDocument
from nms.common.problem import Pointer


def check_entities(
    pipeline: PipelineDocument, side: str, system: str, entities: Mapping[str, EntityDocument]
) -> Iterator[Pointer]:
    """Faults of a pipeline whose `side` is the warehouse of this name; pointers are those within its document."""
    if side == "target" and pipeline.drift == "propagate":
        yield Pointer("/drift", f"`{system}` is the warehouse: its tables change with the documents of entities only")
    names = [getattr(dataset, side) for dataset in pipeline.datasets]
    for number, (name, dataset) in enumerate(zip(names, pipeline.datasets, strict=True)):
        at, entity = f"/datasets/{number}", entities.get(name)
        if entity is None:
            yield _unknown(f"{at}/{side}", name, system, entities)
            continue
        if side == "target" and name in names[:number]:
            yield Pointer(f"{at}/target", f"{name} is the target of two datasets; a second pipeline can take the other")
        for part, asked in _asked(dataset, side):
            yield from _check_fields(f"{at}/{part}", asked, entity)
        if side == "target":
            yield from _check_key(at, dataset, entity)


def _asked(dataset: DatasetMapping, side: str) -> Iterator[tuple[str, Iterable[str]]]:
    """The fields of the entity that each part of a dataset names."""
    if side == "target":
        yield "fields", (dataset.fields or {}).values()
        yield "constants", dataset.constants or ()
        return
    yield "fields", dataset.fields or ()
    yield "where", dataset.where or ()
    yield "casts", dataset.casts or ()
    yield "key", dataset.key or ()


def _check_fields(pointer: str, names: Iterable[str], entity: EntityDocument) -> Iterator[Pointer]:
    for name in names:
        if name not in entity.fields:
            close = get_close_matches(name, entity.fields, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"its fields: {', '.join(entity.fields)[:300]}"
            yield Pointer(pointer, f"the entity `{entity.name}` has no field `{name}`; {hint}")


def _check_key(at: str, dataset: DatasetMapping, entity: EntityDocument) -> Iterator[Pointer]:
    if dataset.fields is None:
        return
    fed = {*dataset.fields.values(), *(dataset.constants or ())}
    missing = [name for name in entity.key if name not in fed]
    if missing:
        yield Pointer(f"{at}/fields", f"nothing feeds `{missing[0]}`, part of the key of the entity `{entity.name}`")


def _unknown(pointer: str, name: str, system: str, entities: Mapping[str, EntityDocument]) -> Pointer:
    close = get_close_matches(name, entities, n=1)
    known = ", ".join(sorted(entities))[:300] or "none"
    hint = f"did you mean `{close[0]}`?" if close else f"known entities: {known}"
    return Pointer(pointer, f"`{name}` is no entity, and `{system}` is the warehouse; {hint}")
