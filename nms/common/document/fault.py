"""Faults of documents as pointers into what was written: pydantic's errors in the words of documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nms.common.problem import Pointer

Location = Sequence[str | int]
Schema = Mapping[str, Any]
_WORDS: Final[Mapping[str, str]] = {
    "tuple_type": "this is a list",
    "model_type": "this is a mapping of keys and values",
    "dict_type": "this is a mapping of keys and values",
    "model_attributes_type": "this is a mapping of keys and values",
}
"""What pydantic says in words of Python, by the type of its error."""


def point_faults(error: ValidationError, model: type[BaseModel], at: str = "") -> list[Pointer]:
    """A pointer per fault of data that should have been this model, each below `at`."""
    schema = _schema_of(model)
    return [_point(item, at, schema) for item in _leave_out_echoes(error)]


def escape_pointer(part: str | int) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return str(part).replace("~", "~0").replace("/", "~1")


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a fault is: the parts as they were written, and the schema of what stands there."""

    parts: tuple[str | int, ...]
    schema: Schema


def _leave_out_echoes(error: ValidationError) -> list[ErrorDetails]:
    """pydantic counts only sound items, so that a list of one faulty item is called too short as well."""
    items = error.errors(include_input=False)
    places = [item["loc"] for item in items]
    deeper = {place[:size] for place in places for size in range(len(place))}
    return [item for item in items if item["type"] != "too_short" or item["loc"] not in deeper]


def _point(item: ErrorDetails, at: str, root: Schema) -> Pointer:
    location = [part for part in item["loc"] if part != "[key]"]
    kind = item["type"]
    if kind == "extra_forbidden":
        above = _find_place(root, location[:-1])
        return Pointer(_write(at, (*above.parts, location[-1])), _unknown_key(str(location[-1]), above.schema))
    place = _find_place(root, location)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        chosen, offered = _choice(place.schema)
        return Pointer(_write(at, (*place.parts, chosen)), _refuse_choice(chosen, offered, item))
    if kind == "missing":
        return Pointer(_write(at, place.parts), f"`{location[-1]}` is missing")
    told = _WORDS.get(kind) or item["msg"][:1].lower() + item["msg"][1:]
    return Pointer(_write(at, place.parts), told.replace("tuple should have", "list should have"))


def _write(at: str, parts: Location) -> str:
    return at + "".join(f"/{escape_pointer(part)}" for part in parts)


def _find_place(root: Schema, location: Location) -> _Place:
    """Follow a location of pydantic, in which the tag of a union stands like a key, through the schema."""
    here, parts = _follow(root, root), []
    for part in location:
        tagged = here.get("discriminator", {}).get("mapping", {})
        if part in tagged:
            here = _follow(root, {"$ref": tagged[part]})
            continue
        parts.append(part)
        below = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part)
        here = _follow(root, here.get("additionalProperties", {}) if below is None else below)
    return _Place(tuple(parts), here)


def _follow(root: Schema, schema: Any) -> Schema:
    """The schema itself behind references, and behind `or null`."""
    while isinstance(schema, dict):
        choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if "$ref" in schema:
            schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2])
        elif len(choices) == 1:
            schema = choices[0]
        else:
            return schema
    return {}


def _choice(schema: Schema) -> tuple[str, list[str]]:
    union = schema.get("discriminator", {})
    return str(union.get("propertyName", "type")), list(union.get("mapping", ()))


def _refuse_choice(chosen: str, offered: Sequence[str], item: ErrorDetails) -> str:
    words = ", ".join(f"`{word}`" for word in offered)
    if item["type"] == "union_tag_not_found":
        return f"`{chosen}` is missing; it is one of {words}"
    close = get_close_matches(str(item.get("ctx", {}).get("tag", "")), offered, n=1)
    return f"this is one of {words}" + (f"; did you mean `{close[0]}`?" if close else "")


def _unknown_key(key: str, schema: Schema) -> str:
    known = sorted(schema.get("properties", ()))
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"
    return f"unknown key `{key[:60]}`; {hint}"
