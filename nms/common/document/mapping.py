"""How the rows of one dataset become those of another: which of them, which columns, what is cast or added."""

import math
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nms.common.condition import COMPARING, IS, LISTING
from nms.common.document.rule import CompareRule
from nms.common.document.values import (
    IDENTIFIER_BYTES,
    Column,
    DatasetName,
    Duration,
    check_dataset,
    check_identifier,
    refusal,
)

SCALAR_LENGTH: Final = 10_000
LIST_LENGTH: Final = 1_000
Scalar = str | int | float | bool | None
Cast = Literal[
    "text", "varchar", "smallint", "integer", "bigint", "numeric", "real", "double", "boolean", "date", "time",
    "timestamp", "timestamptz", "interval", "uuid", "json", "jsonb",
]  # fmt: skip
_COLUMN: Final = {"type": "string", "minLength": 1, "maxLength": IDENTIFIER_BYTES}
_SCALAR: Final = {"type": ["string", "number", "boolean"]}
_LIST: Final = {"type": "array", "minItems": 1, "maxItems": LIST_LENGTH, "items": _SCALAR}
_OPERATORS: Final = {
    **dict.fromkeys(COMPARING, _SCALAR),
    **dict.fromkeys(LISTING, _LIST),
    "neq": {"type": ["string", "number", "boolean", "null"]},
    "is": {"enum": [None, *IS]},
}


class Part(BaseModel):
    """A piece of a document; unknown keys are refused, types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def check_scalar(value: object) -> Any:
    """A text, a number or a word of logic that a database can be given."""
    if not isinstance(value, (str, int, float)):
        raise refusal("a value is a text, a number, true or false; put dates and the like in quotes")
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal("put NaN and infinities in quotes")
    if isinstance(value, int) and abs(value) > 10**40:
        raise refusal("put so large a number in quotes")
    if isinstance(value, str):
        if len(value) > SCALAR_LENGTH:
            raise refusal(f"a value has at most {SCALAR_LENGTH} characters")
        if any(letter == "\0" or 0xD800 <= ord(letter) <= 0xDFFF for letter in value):
            raise refusal("a value has no zero character and no half surrogates")
    return value


def check_where(value: object) -> dict[str, Any] | None:
    """Conditions by column: a value, a list of them, null, or a mapping of operators."""
    if value is None:
        return None
    if not isinstance(value, dict) or not value:
        raise refusal("`where` is a mapping of columns, such as `{status: active}` or `{amount: {gte: 10}}`")
    for name, asked in value.items():
        check_identifier(name)
        if isinstance(asked, dict):
            _check_operators(name, asked)
        elif isinstance(asked, list):
            _check_list(name, asked)
        elif asked is not None:
            check_scalar(asked)
    return value


def check_constants(value: object) -> dict[str, Scalar] | None:
    """Values by target column."""
    if value is None:
        return None
    if not isinstance(value, dict) or not value:
        raise refusal("`constants` is a mapping of target columns, such as `{origin: billing}`")
    for name, constant in value.items():
        check_identifier(name)
        if constant is not None:
            check_scalar(constant)
    return value


def _check_operators(name: str, asked: dict[str, Any]) -> None:
    known = ", ".join(_OPERATORS)
    if not asked:
        raise refusal(f"`{name}` needs an operator: {known}")
    for operator, value in asked.items():
        if operator not in _OPERATORS:
            raise refusal(f"`{operator}` is no operator; these are: {known}")
        if operator == "is":
            if value is not None and not (isinstance(value, str) and value in IS):
                raise refusal("`is` takes null or `not null`")
        elif operator in LISTING:
            _check_list(name, value)
        elif not (value is None and operator in ("eq", "neq")):
            check_scalar(value)


def _check_list(name: str, values: object) -> None:
    if not isinstance(values, list) or not 1 <= len(values) <= LIST_LENGTH:
        raise refusal(f"`{name}` takes a list of 1 to {LIST_LENGTH} values")
    for value in values:
        if value is None:
            raise refusal(f"null stands in no list; write a pipeline of its own for `{name}: null`")
        check_scalar(value)


def _spread_names(value: object) -> object:
    """A list of columns is a mapping of each to itself."""
    if not isinstance(value, (list, tuple)):
        return value
    names = [check_identifier(name) for name in value]
    if len(set(names)) < len(names):
        raise refusal("a column stands here twice")
    return dict(zip(names, names, strict=True))


def _hide_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


Fields = Annotated[
    dict[Column, Column],
    BeforeValidator(_spread_names),
    Field(min_length=1, max_length=1600),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "minProperties": 1, "maxProperties": 1600, "additionalProperties": _COLUMN},
                {"type": "array", "minItems": 1, "maxItems": 1600, "items": _COLUMN},
            ]
        }
    ),
]
Where = Annotated[
    dict[str, Any],
    BeforeValidator(check_where),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "anyOf": [
                    {"type": ["string", "number", "boolean", "null"]},
                    _LIST,
                    {"type": "object", "minProperties": 1, "properties": _OPERATORS, "additionalProperties": False},
                ]
            },
            "examples": [{"status": ["active", "trial"], "amount": {"gte": 10, "lt": 100}, "deleted_at": None}],
        }
    ),
]
Constants = Annotated[
    dict[str, Any],
    BeforeValidator(check_constants),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            "examples": [{"origin": "billing"}],
        }
    ),
]


class DatasetMapping(Part):
    """One table of the source and where its rows go."""

    source: DatasetName
    target: Annotated[
        DatasetName, Field(description="the same name as the source when left out", json_schema_extra=_hide_default)
    ] = ""
    fields: Annotated[
        Fields | None,
        Field(description="source column: target column, or a list of names; all by name when left out"),
    ] = None
    key: Annotated[
        tuple[Column, ...] | None,
        Field(min_length=1, max_length=32, strict=False, description="columns of the source; default its primary key"),
    ] = None
    where: Annotated[
        Where | None,
        Field(description="conditions on source columns, all of which hold for the rows that travel"),
    ] = None
    constants: Annotated[Constants | None, Field(description="target column: the value that every row gets there")] = (
        None
    )
    casts: Annotated[
        dict[Column, Cast] | None,
        Field(min_length=1, description="source column: the type that its values, as text, are read as at the target"),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _name_the_target(cls, value: object) -> object:
        if not isinstance(value, dict) or value.get("target") is not None:
            return value
        with suppress(PydanticCustomError):
            return {**value, "target": check_dataset(value.get("source"))}
        return {part: value[part] for part in value if part != "target"}

    version: Annotated[
        Column | None,
        Field(description="a source field that grows with every change; an older one is passed over at the target"),
    ] = None
    cursor: Annotated[
        Column | None,
        Field(description="poll: a column that tells what changed: xid8 (exact), or a time or number (a guess)"),
    ] = None
    compare: Annotated[
        CompareRule | None,
        Field(description="compare: only these rows and fields, both ways; everything, one way, when left out"),
    ] = None
    overlap: Annotated[
        Duration | None,
        Field(description="poll by a time or number: how long after its cursor a change may commit; default 5min"),
    ] = None

    @field_validator("compare")
    @classmethod
    def _carry_the_rule(cls, rule: CompareRule | None, info: ValidationInfo) -> CompareRule | None:
        if rule is None:
            return None
        fields, key = info.data.get("fields"), info.data.get("key") or ()
        for column in (*rule.when, *rule.take):
            if fields is not None and column not in fields:
                raise refusal(f"column `{column}` is not among `fields`, so the other side does not have it")
        if info.data.get("casts"):
            raise refusal("what both sides take from each other is not cast; leave `casts` out")
        told = [column for column in rule.take if column in key]
        if told:
            raise refusal(f"column `{told[0]}` is part of the key; rows of one key have it alike")
        return rule

    @field_validator("fields")
    @classmethod
    def _feed_a_column_once(cls, fields: dict[str, str] | None) -> dict[str, str] | None:
        seen: dict[str, str] = {}
        for source, target in (fields or {}).items():
            if target in seen:
                raise refusal(f"`{seen[target]}` and `{source}` both go to column `{target}`")
            seen[target] = source
        return fields

    @field_validator("key")
    @classmethod
    def _carry_the_key(cls, key: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if key is not None and len(set(key)) < len(key):
            raise refusal("a column stands here twice")
        fields = info.data.get("fields")
        missing = [] if fields is None else [column for column in key or () if column not in fields]
        if missing:
            raise refusal(f"column `{missing[0]}` is not among `fields`; rows could not be told apart at the target")
        return key

    @field_validator("constants")
    @classmethod
    def _feed_no_constant(cls, constants: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        fed = set((info.data.get("fields") or {}).values())
        twice = [column for column in constants or () if column in fed]
        if twice:
            raise refusal(f"column `{twice[0]}` is fed by `fields` already")
        return constants

    @field_validator("casts")
    @classmethod
    def _cast_what_travels(cls, casts: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        fields = info.data.get("fields")
        absent = [] if fields is None else [column for column in casts or () if column not in fields]
        if absent:
            raise refusal(f"column `{absent[0]}` is not among `fields`")
        return casts
