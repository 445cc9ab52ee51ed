"""The rule of a comparison: which rows take which fields of their like on the other side."""

import math
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, field_validator

from nms.common.document.values import Column, refusal

VALUES: Final = 1_000
LENGTH: Final = 10_000
_ONE: Final[dict[str, Any]] = {"type": ["string", "number", "boolean", "null"]}
Asked = tuple[str | None, ...]


def _read_values(value: object) -> Asked:
    """A value, null or a list of them, each as the text that the column's type reads."""
    if not isinstance(value, (list, tuple)):
        return (_read(value),)
    if not 1 <= len(value) <= VALUES:
        raise refusal(f"a list has 1 to {VALUES} values")
    return tuple(_read(one) for one in value)


def _read(value: object) -> str | None:
    if value is None or isinstance(value, str):
        if value is not None and (len(value) > LENGTH or "\0" in value):
            raise refusal(f"a value has at most {LENGTH} characters and no zero character")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise refusal("a value is a text, a number, true, false or null; put dates and the like in quotes")


def _write_values(values: Asked) -> object:
    return values[0] if len(values) == 1 else list(values)


Values = Annotated[
    Asked,
    BeforeValidator(_read_values),
    PlainSerializer(_write_values),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "minItems": 1, "maxItems": VALUES, "items": _ONE}]}),
]


class CompareRule(BaseModel):
    """Rows that a condition holds for on one side, and not on the other, take fields from there; both directions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    when: Annotated[
        dict[Column, Values],
        Field(min_length=1, max_length=100, description="source column: its value, null, or a list; all of them hold"),
    ]
    take: Annotated[
        tuple[Column, ...],
        Field(min_length=1, max_length=100, strict=False, description="source columns that are taken"),
    ]

    @field_validator("take")
    @classmethod
    def _take_once(cls, take: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(take)) < len(take):
            raise refusal("a column stands here twice")
        return take
