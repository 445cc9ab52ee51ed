"""The kinds of documents: reading one, its normal form, its short form, its JSON Schema."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from nms.common.document.pipeline import PipelineDocument
from nms.common.document.rest import RestSystem
from nms.common.document.system import AmqpSystem, Document, KafkaSystem, PostgresSystem, SystemDocument
from nms.common.problem import Malformed, Pointer

SYSTEMS: Final[Mapping[str, type[SystemDocument]]] = {
    "postgres": PostgresSystem,
    "amqp": AmqpSystem,
    "kafka": KafkaSystem,
    "rest": RestSystem,
}
LATER_SYSTEMS: Final = ("inbox", "warehouse")
KINDS: Final[Mapping[str, type[Document]]] = {"system": SystemDocument, "pipeline": PipelineDocument}


def parse_document(data: object, at: str = "") -> Document:
    """A document of plain data; raises Malformed with a pointer per fault, each below `at`."""
    if not isinstance(data, dict):
        raise _malformed([Pointer(at, "a document is a mapping with `kind` and `name`")])
    kind = data.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        told = "`kind` is missing; it is" if kind is None else "this is"
        raise _malformed([Pointer(f"{at}/kind", f"{told} one of {', '.join(KINDS)}")])
    if model is SystemDocument:
        model = _system_model(data.get("type"), at)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _malformed([_point(item, at, model) for item in _leave_out_echoes(error)]) from None


def _system_model(type_: object, at: str) -> type[Document]:
    model = SYSTEMS.get(type_) if isinstance(type_, str) else None
    if model is None:
        raise _malformed([Pointer(f"{at}/type", _refuse_type(type_))])
    return model


def _refuse_type(type_: object) -> str:
    offered = ", ".join(f"`{word}`" for word in SYSTEMS)
    if type_ is None:
        return f"`type` is missing; it is one of {offered}"
    if type_ in LATER_SYSTEMS:
        return f"`{type_}` is not yet available; today it is one of {offered}"
    return f"this is one of {offered}"


def normal_form(document: Document) -> dict[str, Any]:
    """Every field written out as JSON values: what is stored and compared."""
    return document.model_dump(mode="json")


def short_form(document: Document) -> dict[str, Any]:
    """The document as a person would write it: without what is the default anyway."""
    body = document.model_dump(mode="json", exclude_defaults=True)
    for dataset in body.get("datasets", ()):
        if dataset["target"] == dataset["source"]:
            del dataset["target"]
    return body


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one document of any kind, for editors and validators."""
    schema = TypeAdapter(PostgresSystem | AmqpSystem | KafkaSystem | RestSystem | PipelineDocument).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "NMS document", **schema}


def escape_pointer(part: str | int) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def _malformed(pointers: Sequence[Pointer]) -> Malformed:
    count = len(pointers)
    return Malformed(f"The document has {count} {'fault' if count == 1 else 'faults'}.", pointers=pointers)


def _leave_out_echoes(error: ValidationError) -> list[ErrorDetails]:
    """pydantic counts only sound items, so that a list of one faulty item is called too short as well."""
    items = error.errors(include_input=False)
    places = [item["loc"] for item in items]
    deeper = {place[:size] for place in places for size in range(len(place))}
    return [item for item in items if item["type"] != "too_short" or item["loc"] not in deeper]


def _point(item: ErrorDetails, at: str, model: type[Document]) -> Pointer:
    location = [part for part in item["loc"] if part != "[key]"]
    pointer = at + "".join(f"/{escape_pointer(part)}" for part in location)
    if item["type"] == "extra_forbidden":
        return Pointer(pointer, _unknown_key(str(location[-1]), location[:-1], model))
    if item["type"] == "missing":
        return Pointer(pointer, f"`{location[-1]}` is missing")
    return Pointer(pointer, item["msg"][:1].lower() + item["msg"][1:])


def _unknown_key(key: str, above: Sequence[str | int], model: type[Document]) -> str:
    known = sorted(_keys_below(model.model_json_schema(), above))
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"
    return f"unknown key `{key[:60]}`; {hint}"


def _keys_below(schema: Mapping[str, Any], above: Sequence[str | int]) -> list[str]:
    here: Mapping[str, Any] = schema
    for part in above:
        here = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part, {})
        here = schema.get("$defs", {}).get(str(here.get("$ref", "")).rpartition("/")[2], here)
    return list(here.get("properties", ()))
