"""What entities ask of each other, and what becomes of their tables when a document changes."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from nms.cfg.models import Identity
from nms.common.document import Document, EntityDocument
from nms.common.document.entity import Child, EntityField
from nms.common.document.fault import escape_pointer
from nms.common.problem import Pointer


def find_entity_faults(documents: Mapping[Identity, Document]) -> dict[Identity, list[Pointer]]:
    """Faults by the entity that has them: children that are not there, or cannot be found by the key."""
    entities = {one.name: one for one in documents.values() if isinstance(one, EntityDocument)}
    found = {("entity", name): list(_check_children(one, entities)) for name, one in entities.items()}
    return {identity: faults for identity, faults in found.items() if faults}


def _check_children(parent: EntityDocument, entities: Mapping[str, EntityDocument]) -> Iterator[Pointer]:
    for name, child in parent.children.items():
        at = f"/children/{escape_pointer(name)}"
        if len(parent.key) > 1:
            yield Pointer(at, f"the key of `{parent.name}` has {len(parent.key)} fields; children are found by one")
            continue
        other = entities.get(child.entity)
        if other is None:
            known = ", ".join(sorted(entities))
            yield Pointer(f"{at}/entity", f"there is no entity `{child.entity}`; known entities: {known}")
        else:
            yield from _check_field(parent, child, other, at)


def _check_field(parent: EntityDocument, child: Child, other: EntityDocument, at: str) -> Iterator[Pointer]:
    field = other.fields.get(child.field)
    if field is None:
        close = get_close_matches(child.field, list(other.fields), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else f"; it has {', '.join(list(other.fields)[:20])}"
        yield Pointer(f"{at}/field", f"`{other.name}` has no field `{child.field}`{hint}")
        return
    key = parent.fields[parent.key[0]]
    whole = ("smallint", "integer", "bigint")
    if field.type != key.type and not (field.type in whole and key.type in whole):
        told = f"`{child.field}` is `{field.type}`, and the key of `{parent.name}` is `{key.type}`"
        yield Pointer(f"{at}/field", f"{told}: they could never be equal")
    if not other.is_indexed(child.field):
        yield Pointer(
            f"{at}/field", f"`{child.field}` of `{other.name}` needs `index: true`: each look would read all records"
        )


def tell_entities(
    before: Mapping[Identity, Document], after: Mapping[Identity, Document]
) -> Iterator[tuple[Identity, str]]:
    """What the warehouse will do where a document of an entity comes, changes or goes; a sentence for each."""
    for identity in before.keys() | after.keys():
        for sentence in _tell(before.get(identity), after.get(identity)):
            yield identity, sentence


def _tell(before: Document | None, after: Document | None) -> Iterator[str]:
    if isinstance(after, EntityDocument):
        if isinstance(before, EntityDocument):
            yield from _tell_changes(before, after)
        else:
            yield f"entity {after.name} is made"
    elif isinstance(before, EntityDocument):
        yield f"entity {before.name} is hidden; its data are kept"


def _tell_changes(before: EntityDocument, after: EntityDocument) -> Iterator[str]:
    name = after.name
    if before.key != after.key:
        yield f"entity {name} needs a plan: its key becomes {', '.join(after.key)}"
    for each, field in after.fields.items():
        if each not in before.fields:
            yield f"entity {name} gets the field {each}"
            if field.required:
                yield f"entity {name} needs a plan where it has records: {each} is required"
        else:
            yield from _tell_field(f"entity {name}", each, (before.fields[each], field))
    for each in before.fields:
        if each not in after.fields:
            yield f"entity {name} no longer shows the field {each}; its data are kept"
    if list(before.fields) != list(after.fields):
        yield f"entity {name} has its records written anew, beside readers and writers"


def _tell_field(entity: str, name: str, fields: tuple[EntityField, EntityField]) -> Iterator[str]:
    before, after = fields
    if _spell_type(before) != _spell_type(after):
        yield f"{entity} needs a plan: {name} becomes {_spell_type(after)}"
    if before.required != after.required:
        told = f"needs a plan where records lack it: {name} is required" if after.required else f"may lack {name}"
        yield f"{entity} {told}"
    for word, told in (("index", "an index on"), ("search", "full text of")):
        if getattr(before, word) != getattr(after, word):
            yield f"{entity} {'gets' if getattr(after, word) else 'loses'} {told} {name}"


def _spell_type(field: EntityField) -> str:
    digits = "" if field.precision is None else f"({field.precision},{field.scale or 0})"
    return field.type + digits
