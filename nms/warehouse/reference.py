"""What the OpenAPI document says of the entities that are built: paths, parameters, records, tags, problems."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI

from nms.common.answers import problems
from nms.common.db.problems import DatabaseUnavailable
from nms.common.document.entity import EntityField
from nms.common.guard import BEARER, PASSWORD, Caller, TokenRefused, Unauthenticated
from nms.common.paging import DEFAULT_LIMIT, LARGEST_LIMIT, LONGEST_CURSOR, CursorRefused
from nms.common.problem import Malformed, NotFound
from nms.warehouse.entities import Entities, Served
from nms.warehouse.expression import DEEPEST
from nms.warehouse.expression import LONGEST as LONGEST_FILTER
from nms.warehouse.filter import MOST_CONDITIONS, OPERATORS
from nms.warehouse.operation import describe_changes, describe_creation
from nms.warehouse.page import COUNTS, LARGEST_OFFSET, LONGEST_SEARCH
from nms.warehouse.problems import ListTooCostly, PageTooLarge, ReadTooLong

Part = dict[str, Any]
_OF_A_RECORD: Final = (Unauthenticated, TokenRefused, NotFound, Malformed, ReadTooLong, DatabaseUnavailable)
_OF_A_LIST: Final = (*_OF_A_RECORD, CursorRefused, ListTooCostly, PageTooLarge)
_TYPES: Final[Mapping[str, Part]] = {
    "text": {"type": "string", "examples": ["sunt aut facere"]},
    "boolean": {"type": "boolean", "examples": [True]},
    "smallint": {"type": "integer", "minimum": -(2**15), "maximum": 2**15 - 1, "examples": [1]},
    "integer": {"type": "integer", "format": "int32", "examples": [1]},
    "bigint": {"type": "integer", "format": "int64", "examples": [1]},
    "numeric": {"type": "number", "examples": [12.5]},
    "real": {"type": "number", "format": "float", "examples": [0.5]},
    "double": {"type": "number", "format": "double", "examples": [0.5]},
    "date": {"type": "string", "format": "date", "examples": ["2026-11-22"]},
    "timestamp": {"type": "string", "format": "date-time", "examples": ["2026-11-22T08:30:00+00:00"]},
    "time": {"type": "string", "examples": ["08:30:00"]},
    "uuid": {"type": "string", "format": "uuid", "examples": ["3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10"]},
    "json": {"description": "any JSON", "examples": [{"city": "Rome"}]},
}
_LINEAGE: Final[Part] = {
    "type": "object",
    "description": "where the record came from; with `lineage=1`",
    "properties": {
        "source": {"type": "string", "examples": ["local"]},
        "external_id": {"type": ["string", "null"], "examples": ["7f3a"]},
        "sequence": {"type": "integer", "format": "int64", "examples": [42]},
        "created_at": _TYPES["timestamp"],
        "updated_at": _TYPES["timestamp"],
    },
}
_TAG_HEADER: Final[Part] = {
    "ETag": {
        "description": "What `If-None-Match` takes; a list has none while a change is being committed.",
        "schema": {"type": "string", "examples": ['"42-7.3f9a1c"']},
    }
}
_LINK_HEADER: Final[Part] = {
    "Link": {"description": "The pages beside (RFC 8288): `next`, `prev`.", "schema": {"type": "string"}}
}


def see_entities(app: FastAPI, caller: Caller) -> frozenset[str]:
    """The names of the entities that this process serves now and that the caller may read."""
    standing = _standing(app)
    return frozenset(entity.name for entity in standing if caller.may(f"entities:read:{entity.name}"))


def describe_paths(app: FastAPI, seen: frozenset[str]) -> Part:
    """The paths of entities, of these names."""
    paths: dict[str, Part] = {}
    entities = {entity.name: entity for entity in _standing(app) if entity.name in seen}
    for entity in entities.values():
        paths |= {path: {"get": one, "head": _heads_of(one)} for path, one in _operations(entities, entity)}
        if entity.document.writable:
            fields = {name: describe_field(entity, name) for name in entity.fields}
            paths[f"/{entity.name}"]["post"] = describe_creation(entity, fields)
            paths[f"/{entity.name}/{{key}}"] |= describe_changes(entity, fields, _key_of(entity))
    return paths


def describe_schemas(app: FastAPI, seen: frozenset[str]) -> Part:
    """The records of entities, of these names."""
    return {entity.name: describe_record(entity) for entity in _standing(app) if entity.name in seen}


def describe_record(entity: Served) -> Part:
    """The JSON Schema of a record in an answer: every field, null where it has no value."""
    properties = {name: describe_field(entity, name) for name in entity.fields}
    return {
        "type": "object",
        "title": entity.name,
        "properties": {**properties, "_lineage": _LINEAGE},
        "additionalProperties": False,
        "examples": [{name: _example_of(one) for name, one in entity.fields.items()}],
    }


def describe_field(entity: Served, name: str) -> Part:
    """The JSON Schema of a field in an answer."""
    field = entity.fields[name]
    schema = dict(_TYPES[field.type])
    if "type" in schema and not field.required and name not in entity.key:
        schema["type"] = [schema["type"], "null"]
    return schema


def _standing(app: FastAPI) -> list[Served]:
    entities: Entities | None = getattr(app.state, "entities", None)
    return [] if entities is None else entities.standing()


def _example_of(field: EntityField) -> Any:
    return _TYPES[field.type]["examples"][0]


def _operations(entities: Mapping[str, Served], entity: Served) -> Iterator[tuple[str, Part]]:
    name = entity.name
    yield f"/{name}", _list_of(entity, f"{name}.list", f"List {name}", ())
    yield f"/{name}/{{key}}", _record_of(entity)
    for word, child in entity.document.children.items():
        other = entities.get(child.entity)
        if other is not None:
            told = f"List {word} of one of {name}"
            yield f"/{name}/{{key}}/{word}", _list_of(other, f"{name}.{word}", told, (_key_of(entity),))


def _heads_of(operation: Part) -> Part:
    """HEAD of what a GET reads (RFC 9110, section 9.3.2): the same answers without what is in them."""
    answers = {status: {name: part for name, part in answer.items() if name != "content"}
               for status, answer in operation["responses"].items()}  # fmt: skip
    return {
        **operation,
        "operationId": f"{operation['operationId']}.head",
        "summary": f"{operation['summary']}: the headers alone",
        "description": "As GET, without the body: whether it is there, its tag, how long the answer would be.",
        "responses": answers,
    }


def _record_of(entity: Served) -> Part:
    answer = {"application/json": {"schema": {"$ref": f"#/components/schemas/{entity.name}"}}}
    return {
        **_common(entity, f"{entity.name}.get", f"Read one of {entity.name}"),
        "description": "A record by its key, as it stands in the warehouse.",
        "parameters": [_key_of(entity), _fields(entity), _LINEAGE_ASKED, _NONE_MATCH],
        "responses": {
            "200": {"description": "The record", "headers": _TAG_HEADER, "content": answer},
            "304": {"description": "It is still the one that `If-None-Match` names", "headers": _TAG_HEADER},
            **_refused(_OF_A_RECORD),
        },
    }


def _list_of(entity: Served, operation: str, summary: str, before: tuple[Part, ...]) -> Part:
    content = {"application/json": {"schema": _page_of(entity)}}
    return {
        **_common(entity, operation, summary),
        "description": (
            "A page of records, in the order of the key unless `sort` says otherwise. Go on by `next`, which costs the "
            "same at any depth; in the order of the key every record that was there the whole time comes exactly once."
            "\n\nEach field is a parameter: `field=value` is equality, `field.gt=value` another operator "
            f"({', '.join(OPERATORS)}; `not` before it: `field.not.in=1,2`). A name of a parameter that is a field too "
            "is meant as a field with its operator: `limit.eq=5`."
        ),
        "parameters": [*before, *_of_lists(entity), *_of_fields(entity), _NONE_MATCH],
        "responses": {
            "200": {"description": "The page", "headers": {**_TAG_HEADER, **_LINK_HEADER}, "content": content},
            "304": {"description": "The list is still what `If-None-Match` names", "headers": _TAG_HEADER},
            **_refused(_OF_A_LIST),
        },
    }


def _page_of(entity: Served) -> Part:
    cursor = {"type": ["string", "null"], "examples": ["m2lBPBrUuKLe1n3wVqBSFlsxMjA0XQ"]}
    return {
        "type": "object",
        "required": ["items", "next", "prev"],
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{entity.name}"}},
            "next": {**cursor, "description": "the cursor of the next page; null on the last one"},
            "prev": {**cursor, "description": "the cursor of the page before; null on the first one"},
            "count": {"type": "integer", "description": "records on all pages, where `count` asks", "examples": [100]},
        },
    }


def _common(entity: Served, operation: str, summary: str) -> Part:
    scope = f"entities:read:{entity.name}"
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [entity.name],
        "security": [{PASSWORD: [scope]}, {BEARER: [scope]}],
    }


def _key_of(entity: Served) -> Part:
    schema: Part = {"type": "string", "examples": [",".join("1" for _ in entity.key)]}
    if len(entity.key) == 1:
        schema = {**_TYPES[entity.fields[entity.key[0]].type]}
        if schema["type"] == "string" and "format" not in schema:
            schema["minLength"] = 1
    told = ", ".join(f"`{name}`" for name in entity.key)
    more = "" if len(entity.key) == 1 else ", percent-encoded each and joined by commas"
    return {"name": "key", "in": "path", "required": True, "description": f"{told}{more}", "schema": schema}


def _of_lists(entity: Served) -> Iterator[Part]:
    """The parameters of every list."""
    document = entity.document
    indexed = [name for name in entity.fields if document.is_indexed(name)]
    names = "|".join(indexed)
    whole = {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT}
    yield _parameter("limit", f"Records of a page; more than {LARGEST_LIMIT} is refused.", whole)
    yield _parameter(
        "cursor", "`next` or `prev` of another page; leave it out to start.", _text(maxLength=LONGEST_CURSOR)
    )
    offset = {"type": "integer", "minimum": 0, "maximum": LARGEST_OFFSET}
    yield _parameter("offset", "Records to pass over; cursors are better.", offset)
    yield _parameter(
        "sort",
        f"Fields with an index, `-` for descending; null stands behind all values. Here: {', '.join(indexed)}.",
        _text(pattern=f"^-?({names})(,-?({names}))*$", examples=[f"-{indexed[0]}"]),
    )
    yield _fields(entity)
    if any(field.search for field in entity.fields.values()):
        yield _parameter("q", 'Full text: words, "phrases", `or`, `-without`.', _text(maxLength=LONGEST_SEARCH))
    first = entity.key[0]
    literal = (
        "1" if _TYPES[entity.fields[first].type]["type"] == "integer" else f"'{_example_of(entity.fields[first])}'"
    )
    yield _parameter(
        "filter",
        f"Conditions with `and`, `or`, `not`, at most {MOST_CONDITIONS} of them, {DEEPEST} deep; texts in quotes.",
        _text(maxLength=LONGEST_FILTER, examples=[f"{first} gt {literal} and not ({first} in ({literal}))"]),
    )
    yield _parameter(
        "count", "How many there are on all pages: not told, as PostgreSQL estimates, or counted.", {"enum": [*COUNTS]}
    )
    yield _LINEAGE_ASKED


def _of_fields(entity: Served) -> Iterator[Part]:
    taken = {"limit", "cursor", "offset", "sort", "fields", "q", "filter", "count", "lineage"}
    for name, field in entity.fields.items():
        if field.type != "json" and name not in taken:
            yield _parameter(name, f"Only records with this `{name}`.", dict(_TYPES[field.type]))


def _fields(entity: Served) -> Part:
    names = "|".join(entity.fields)
    schema = _text(pattern=f"^({names})(,({names}))*$", examples=[entity.key[0]])
    return _parameter("fields", "The fields that are shown, in this order; else all.", schema)


def _text(**more: Any) -> Part:
    return {"type": "string", **more}


def _parameter(name: str, told: str, schema: Part) -> Part:
    return {"name": name, "in": "query", "description": told, "schema": schema}


def _refused(kinds: Any) -> Part:
    return {str(status): answer for status, answer in sorted(problems(*kinds).items(), key=lambda one: int(one[0]))}


_LINEAGE_ASKED: Final = _parameter(
    "lineage", "Whether `_lineage` tells where a record came from.", {"enum": ["0", "1"]}
)
_NONE_MATCH: Final[Part] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Tags of what is held already; 304 where it is still the same.",
    "schema": {"type": "string", "examples": ['"42-7.3f9a1c"']},
}
