"""What the OpenAPI document says of writes: bodies, conditions, answers, problems (pure)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from nms.common.answers import problems
from nms.common.db.problems import DatabaseUnavailable, LockTimeout, TransactionConflict
from nms.common.guard import BEARER, PASSWORD, Forbidden, TokenRefused, Unauthenticated
from nms.common.idempotency import HEADER, REPLAYED, IdempotencyKeyReused
from nms.common.middleware import ContentTooLarge
from nms.common.problem import Malformed, NotFound, Problem
from nms.common.rendering import BadRequest
from nms.warehouse.condition import PreconditionFailed
from nms.warehouse.entities import Served
from nms.warehouse.problems import KeysUsedUp, MediaTypeRefused, RecordExists
from nms.warehouse.records import made_type

Part = dict[str, Any]
Fields = Mapping[str, Part]
_TIME: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$"
_EVERY: Final = (
    *(Unauthenticated, TokenRefused, Forbidden, NotFound, Malformed, IdempotencyKeyReused),
    *(DatabaseUnavailable, LockTimeout, TransactionConflict),
)
_OF_A_BODY: Final = (*_EVERY, BadRequest, ContentTooLarge, MediaTypeRefused)
_HEADERS: Final[Part] = {
    "ETag": {"description": "What `If-Match` takes.", "schema": {"type": "string", "examples": ['"42-7.3f9a1c"']}},
    REPLAYED: {
        "description": "`true`: this request had this answer before.",
        "schema": {"type": "string", "examples": ["true"]},
    },
}


def describe_creation(entity: Served, fields: Fields) -> Part:
    """`POST /{entity}`; `fields` are the schemas of its fields in an answer."""
    made = made_type(entity.document) is not None
    needed = [name for name, field in entity.fields.items()
              if field.required or (name in entity.key and not made)]  # fmt: skip
    nullable = frozenset(entity.key) if made else frozenset()
    told = "Its key may be left out, and is made." if made else "Its key comes with it."
    return {
        **_common(entity, "create", f"Create one of {entity.name}"),
        "description": f"A record that was not there. {told}",
        "parameters": [_LINEAGE, _ONCE],
        "requestBody": _body(_record(entity, fields, needed, nullable)),
        "responses": {
            "201": _answer(entity, "The record, created", {**_HEADERS, **_location(entity)}),
            **_refused((*_OF_A_BODY, RecordExists, KeysUsedUp)),
        },
    }


def describe_changes(entity: Served, fields: Fields, key: Part) -> Iterator[tuple[str, Part]]:
    """What else is done to a record of `/{entity}/{key}`, by method; `key` is the parameter of the path."""
    needed = [name for name, field in entity.fields.items() if field.required and name not in entity.key]
    yield (
        "put",
        {
            **_common(entity, "replace", f"Replace one of {entity.name}"),
            "description": "The record under this key is this one from now on; what it leaves out is null.",
            "parameters": [key, _LINEAGE, _MATCH, _NONE_MATCH, _ONCE],
            "requestBody": _body(_record(entity, fields, needed)),
            "responses": {
                "200": _answer(entity, "The record as it is now", _HEADERS),
                "201": _answer(entity, "The record, created", {**_HEADERS, **_location(entity)}),
                **_refused((*_OF_A_BODY, PreconditionFailed)),
            },
        },
    )
    yield (
        "patch",
        {
            **_common(entity, "patch", f"Change one of {entity.name}"),
            "description": "A merge patch (RFC 7396): what it names changes, null takes away, everything else stays.",
            "parameters": [key, _LINEAGE, _MATCH, _NONE_MATCH, _ONCE],
            "requestBody": _body(_record(entity, fields, []), "application/merge-patch+json"),
            "responses": {
                "200": _answer(entity, "The record as it is now", _HEADERS),
                **_refused((*_OF_A_BODY, PreconditionFailed)),
            },
        },
    )
    yield (
        "delete",
        {
            **_common(entity, "delete", f"Delete one of {entity.name}"),
            "description": "The record goes; the feed tells it.",
            "parameters": [key, _LINEAGE, _MATCH, _NONE_MATCH, _ONCE],
            "responses": {"204": {"description": "It is gone"}, **_refused((*_EVERY, PreconditionFailed))},
        },
    )


def _common(entity: Served, verb: str, summary: str) -> Part:
    scope = f"entities:write:{entity.name}"
    return {
        "operationId": f"{entity.name}.{verb}",
        "summary": summary,
        "tags": [entity.name],
        "security": [{PASSWORD: [scope]}, {BEARER: [scope]}],
    }


def _record(entity: Served, fields: Fields, needed: list[str], nullable: frozenset[str] = frozenset()) -> Part:
    """The JSON Schema of what is sent."""
    properties = {name: _field(entity, name, fields[name], nullable) for name in entity.fields}
    example = {name: one["examples"][0] for name, one in properties.items() if one.get("examples")}
    schema: Part = {"type": "object", "properties": properties, "additionalProperties": False, "examples": [example]}
    return {**schema, "required": needed} if needed else schema


def _field(entity: Served, name: str, shown: Part, nullable: frozenset[str]) -> Part:
    schema = dict(shown)
    if entity.fields[name].type == "time":
        schema["pattern"] = _TIME
    if name in nullable and isinstance(schema["type"], str):
        schema["type"] = [schema["type"], "null"]
    return schema


def _body(schema: Part, *more: str) -> Part:
    return {"required": True, "content": {kind: {"schema": schema} for kind in ("application/json", *more)}}


def _answer(entity: Served, told: str, headers: Part) -> Part:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{entity.name}"}}}
    return {"description": f"{told}; without it for who may not read it", "headers": headers, "content": content}


def _location(entity: Served) -> Part:
    place = f"/{entity.name}/{','.join('1' for _ in entity.key)}"
    return {"Location": {"description": "Where the record is.", "schema": {"type": "string", "examples": [place]}}}


def _refused(kinds: Iterable[type[Problem]]) -> Part:
    return {str(status): answer for status, answer in sorted(problems(*kinds).items(), key=lambda one: int(one[0]))}


def _header(name: str, told: str, **schema: Any) -> Part:
    return {"name": name, "in": "header", "description": told, "schema": {"type": "string", **schema}}


_LINEAGE: Final[Part] = {
    "name": "lineage",
    "in": "query",
    "description": "Whether `_lineage` tells where a record came from.",
    "schema": {"enum": ["0", "1"]},
}
_MATCH: Final = _header(
    "If-Match", "Write only if the record has one of these tags; `*`: if there is one.", examples=['"42-7.3f9a1c"']
)
_NONE_MATCH: Final = _header("If-None-Match", "`*`: write only if there is no such record.", examples=["*"])
_ONCE: Final = _header(
    HEADER, "A text of your own: the same request again has the answer that it had, for 24 hours.",
    pattern="^[!-~]{1,255}$", examples=["3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10"],
)  # fmt: skip
