"""The document of an entity: a type of records of the warehouse, its fields, its key, and what belongs to it."""

import re
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from nms.common.document.mapping import Part
from nms.common.document.system import Document
from nms.common.document.values import refusal

MOST_FIELDS: Final = 1_000
MOST_DIGITS: Final = 1_000
ENTITY_NAME: Final = r"[a-z][a-z0-9_]{0,38}"
FIELD_NAME: Final = r"[A-Za-z][A-Za-z0-9_]{0,58}"
OWN_PATHS: Final = frozenset(
    {
        *("data", "sync", "tasks", "exports", "entities"),
        *("healthz", "readyz", "metrics", "docs", "openapi", "redoc", "static"),
    }
)
"""Paths of the warehouse itself: no entity may have such a name."""
SYSTEM_COLUMNS: Final = frozenset(("tableoid", "ctid", "xmin", "cmin", "xmax", "cmax"))
"""What PostgreSQL keeps of every row by itself; no column of a table can be named so."""
FieldType = Literal[
    "text", "boolean", "smallint", "integer", "bigint", "numeric", "real", "double", "date", "timestamp", "time",
    "uuid", "json",
]  # fmt: skip
KEY_TYPES: Final = ("text", "smallint", "integer", "bigint", "uuid", "date")
"""Types of which equal values have one spelling, so that a key can stand in a path."""


def check_entity_name(value: object) -> str:
    """The name of an entity, which is its path too; raises a validation error."""
    if not isinstance(value, str):
        raise refusal("a name is a text; put it in quotes")
    if not re.fullmatch(ENTITY_NAME, value):
        raise refusal(
            "the name of an entity is made of lower case letters, digits and `_`, begins with a letter, "
            "and has at most 39 characters"
        )
    if value in OWN_PATHS:
        raise refusal(f"`{value}` is a path of the warehouse itself; name the entity otherwise")
    return value


def check_child_name(value: object) -> str:
    """The last part of the path of what belongs to a record; raises a validation error."""
    if not isinstance(value, str) or not re.fullmatch(ENTITY_NAME, value):
        raise refusal("this is made of lower case letters, digits and `_`, begins with a letter, at most 39 characters")
    return value


def check_field_name(value: object) -> str:
    """The name of a field as JSON and the table have it; raises a validation error."""
    if not isinstance(value, str) or not re.fullmatch(FIELD_NAME, value):
        raise refusal(
            "the name of a field is made of letters, digits and `_`, begins with a letter, at most 59 characters"
        )
    if value in SYSTEM_COLUMNS:
        raise refusal(f"PostgreSQL has a column `{value}` in every table already; name the field otherwise")
    return value


def _list_key(value: object) -> object:
    return (value,) if isinstance(value, str) else value


EntityName = Annotated[
    str,
    BeforeValidator(check_entity_name),
    WithJsonSchema({"type": "string", "pattern": f"^{ENTITY_NAME}$", "examples": ["subscription_status"]}),
]
ChildName = Annotated[
    str, BeforeValidator(check_child_name), WithJsonSchema({"type": "string", "pattern": f"^{ENTITY_NAME}$"})
]
FieldName = Annotated[
    str,
    BeforeValidator(check_field_name),
    WithJsonSchema({"type": "string", "pattern": f"^{FIELD_NAME}$", "examples": ["userId"]}),
]
Key = Annotated[
    tuple[FieldName, ...],
    BeforeValidator(_list_key),
    Field(min_length=1, max_length=8, strict=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{FIELD_NAME}$"},
                {"type": "array", "minItems": 1, "maxItems": 8, "items": {"type": "string", "pattern": FIELD_NAME}},
            ],
            "description": "the field or fields that tell records apart, in the order of the path",
            "examples": ["id", ["shop", "number"]],
        }
    ),
]


class EntityField(Part):
    """One field of an entity: a column of its table, a member of its JSON."""

    type: FieldType
    precision: Annotated[
        int | None, Field(ge=1, le=MOST_DIGITS, description="digits of a `numeric`; any number of them when left out")
    ] = None
    scale: Annotated[int | None, Field(ge=0, le=MOST_DIGITS, description="digits of a `numeric` behind the point")] = (
        None
    )
    index: Annotated[bool, Field(description="lists can be sorted by it, and filters on it are fast")] = False
    search: Annotated[bool, Field(description="full text search looks into it; of a text")] = False
    required: Annotated[bool, Field(description="no record is without it; a key always is")] = False

    @model_validator(mode="after")
    def _fit_the_type(self) -> "EntityField":
        if self.type != "numeric" and (self.precision is not None or self.scale is not None):
            raise refusal(f"`precision` and `scale` are those of a `numeric`, and this is `{self.type}`")
        if self.scale is not None and (self.precision is None or self.scale > self.precision):
            raise refusal("`scale` needs a `precision` that is not smaller")
        if self.search and self.type != "text":
            raise refusal(f"full text search looks into fields of type `text`, and this is `{self.type}`")
        if self.index and self.type == "json":
            raise refusal("values of type `json` have no order that an index could keep")
        return self


class Child(Part):
    """Records of another entity that belong to one of this: `GET /posts/1/comments`."""

    entity: EntityName
    field: Annotated[FieldName, Field(description="the field of the other entity that holds the key of this one")]


class EntityDocument(Document):
    """A type of records of the warehouse, served at `/NAME`."""

    kind: Literal["entity"]
    name: EntityName
    key: Key
    fields: Annotated[dict[FieldName, EntityField], Field(min_length=1, max_length=MOST_FIELDS)]
    order: Annotated[
        tuple[str, ...],
        Field(strict=False, description="the order of the fields in answers; else as `fields` has them"),
    ] = ()
    children: Annotated[dict[ChildName, Child], Field(max_length=100, description="by the last part of their path")] = (
        Field(default_factory=dict)
    )
    writable: Annotated[bool, Field(description="whether records can be written over REST")] = True

    @model_validator(mode="before")
    @classmethod
    def _put_in_order(cls, data: Any) -> Any:
        # Documents are stored as jsonb, which forgets the order of keys and keeps that of a list.
        if not isinstance(data, dict) or not isinstance(fields := data.get("fields"), dict):
            return data
        order = data.get("order")
        if not order:
            return {**data, "order": list(fields)}
        if isinstance(order, list | tuple) and all(isinstance(name, str) for name in order):
            fields = {name: fields[name] for name in order if name in fields} | fields
        return {**data, "fields": fields}

    @field_validator("order")
    @classmethod
    def _name_all_fields(cls, order: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        fields = info.data.get("fields")
        if fields is not None and (len(order) != len(fields) or set(order) != set(fields)):
            raise refusal("`order` names each of the fields once; leave it out to have them as `fields` has them")
        return order

    @field_validator("fields")
    @classmethod
    def _hold_the_key(cls, fields: dict[str, EntityField], info: ValidationInfo) -> dict[str, EntityField]:
        for name in info.data.get("key", ()):
            if name not in fields:
                raise refusal(f"the key `{name}` is none of the fields")
            if fields[name].type not in KEY_TYPES:
                offered = ", ".join(f"`{word}`" for word in KEY_TYPES)
                raise refusal(f"a key is of type {offered}; `{name}` is `{fields[name].type}`")
        return fields

    @field_validator("key")
    @classmethod
    def _name_a_field_once(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(key)) < len(key):
            raise refusal("a field stands here twice")
        return key

    def is_indexed(self, name: str) -> bool:
        """Whether a list can be sorted by this field: it has an index, or it is the first one of the key."""
        return self.fields[name].index or name == self.key[0]


FIELD_TYPES: Final[tuple[str, ...]] = get_args(FieldType)
