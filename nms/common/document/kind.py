"""The kinds of documents: reading one, its normal form, its short form, its JSON Schema."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from nms.common.document.endpoint import EndpointDocument
from nms.common.document.entity import EntityDocument
from nms.common.document.fault import point_faults
from nms.common.document.inbox import InboxSystem
from nms.common.document.pipeline import PipelineDocument
from nms.common.document.rest import RestSystem
from nms.common.document.system import AmqpSystem, Document, KafkaSystem, PostgresSystem, SystemDocument
from nms.common.document.warehouse import WarehouseSystem
from nms.common.problem import Malformed, Pointer

SYSTEMS: Final[Mapping[str, type[SystemDocument]]] = {
    "postgres": PostgresSystem,
    "amqp": AmqpSystem,
    "kafka": KafkaSystem,
    "rest": RestSystem,
    "inbox": InboxSystem,
    "warehouse": WarehouseSystem,
}
KINDS: Final[Mapping[str, type[Document]]] = {
    "system": SystemDocument,
    "pipeline": PipelineDocument,
    "endpoint": EndpointDocument,
    "entity": EntityDocument,
}


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
        raise _malformed(point_faults(error, model, at)) from None


def _system_model(type_: object, at: str) -> type[Document]:
    model = SYSTEMS.get(type_) if isinstance(type_, str) else None
    if model is None:
        raise _malformed([Pointer(f"{at}/type", _refuse_type(type_))])
    return model


def _refuse_type(type_: object) -> str:
    offered = ", ".join(f"`{word}`" for word in SYSTEMS)
    if type_ is None:
        return f"`type` is missing; it is one of {offered}"
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
    if isinstance(document, EntityDocument):
        _write_entity(body)
    return body


def shorten(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored body in short form; one that this version cannot read stays as it is."""
    try:
        return short_form(parse_document(dict(body)))
    except Malformed:
        return body


def _write_entity(body: dict[str, Any]) -> None:
    del body["order"]
    if len(body["key"]) == 1:
        [body["key"]] = body["key"]


def json_schema(kind: str | None = None) -> dict[str, Any]:
    """JSON Schema (2020-12) of one document, of a kind of KINDS or of any, for editors and validators."""
    systems = PostgresSystem | AmqpSystem | KafkaSystem | RestSystem | InboxSystem | WarehouseSystem
    any_document = systems | PipelineDocument | EndpointDocument | EntityDocument
    model: Any = any_document if kind is None else systems if kind == "system" else KINDS[kind]
    title = "NMS document" if kind is None else f"NMS {kind}"
    schema = TypeAdapter(model).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def _malformed(pointers: Sequence[Pointer]) -> Malformed:
    count = len(pointers)
    return Malformed(f"The document has {count} {'fault' if count == 1 else 'faults'}.", pointers=pointers)
