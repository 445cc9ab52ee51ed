"""Members of a record as a caller sends them: held against the type of their field, no digit lost (pure)."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from nms.common.document import EntityField
from nms.common.strict_json import Number, write
from nms.warehouse.value import checked_json, spell

_WHOLE: Final = frozenset({"smallint", "integer", "bigint"})
_NUMBERS: Final = _WHOLE | {"numeric", "real", "double"}
_ZONED: Final = re.compile(r".{10}[T ].{8}.*(?:Z|[+-]\d{2}:\d{2})", re.ASCII)
_FINER: Final = re.compile(r"(\.\d{6})\d+")


def read_value(field: EntityField, value: Any) -> str | None:
    """The text by which PostgreSQL knows a value of strict JSON; None for null. Raises ValueError with a sentence."""
    if value is None:
        return None
    if field.type == "json":
        return write(checked_json(value))
    if field.type == "boolean":
        if not isinstance(value, bool):
            raise ValueError("this is `true` or `false`")
        return "true" if value else "false"
    is_number = isinstance(value, Number)
    if field.type in _NUMBERS:
        if not is_number:
            raise ValueError("this is a number")
        return _spell_number(field, value)
    if is_number or not isinstance(value, str):
        raise ValueError("this is a text")
    return _spell_moment(value) if field.type == "timestamp" else spell(field.type, value)


def _spell_number(field: EntityField, value: Number) -> str:
    text = spell("numeric" if field.type in _WHOLE else field.type, value)
    number = Decimal(text)
    if field.type in _WHOLE:
        # By the bounds of the text above it has hundreds of digits at most.
        if number != number.to_integral_value():
            raise ValueError("this is a number without a fraction")
        return spell(field.type, str(int(number)))
    if field.precision is not None:
        _check_digits(number, field.precision, field.scale or 0)
    return text


def _check_digits(number: Decimal, precision: int, scale: int) -> None:
    """Raise ValueError for a number that PostgreSQL would round, or that is too large."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits)).rstrip("0")
    if not written:
        return
    if exponent + len(digits) - len(written) < -scale:
        raise ValueError(f"this has at most {scale} digits behind the point")
    if number.adjusted() >= precision - scale:
        raise ValueError(f"this has at most {precision - scale} digits before the point")


def _spell_moment(text: str) -> str:
    """A moment in UTC; finer than microseconds is cut off."""
    upper = _FINER.sub(r"\1", text.upper())
    if not _ZONED.fullmatch(upper):
        raise ValueError("write a time as 2026-12-31T23:59:59Z, with its zone")
    try:
        return datetime.fromisoformat(spell("timestamp", upper)).astimezone(UTC).isoformat()
    except OverflowError:
        raise ValueError("there is no such moment") from None
