"""What entities ask of each other: children are there, and hold the key of their parent."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from nms.cfg.models import Identity
from nms.common.document import Document, EntityDocument
from nms.common.document.entity import Child
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
