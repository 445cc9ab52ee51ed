"""Values of JSON as PostgreSQL reads them: exact, or refused with a sentence that says why (pure)."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID

from nms.common.document import EntityField
from nms.common.strict_json import Number, write

MOST_DIGITS: Final = 1_000
"""Digits of a number, and how far an exponent may go: a few characters must not become a megabyte."""
_LARGEST_REAL: Final = 3.4028235677973366e38
_SMALLEST_REAL: Final = 0.7006492321624086e-45
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME: Final = re.compile(r"\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?", re.ASCII)
_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_EXPONENT: Final = re.compile(r"[eE]([+-]?\d+)$", re.ASCII)


class ValueUnfit(ValueError):
    """A value is none of its field's type; the sentence says what one is."""


def read_value(field: EntityField, value: Any) -> str | None:
    """The text by which PostgreSQL knows a value of strict JSON; None for null. Raises ValueUnfit."""
    if value is None:
        return None
    if field.type == "numeric":
        return _numeric(field, value)
    return _READ[field.type](value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise ValueUnfit("this is a text")
    return _storable(value)


def _boolean(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueUnfit("this is `true` or `false`")
    return "true" if value else "false"


def _integer(bits: int, value: Any) -> str:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueUnfit("this is a number without a fraction")
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueUnfit(f"this is a number from {-(2 ** (bits - 1))} to {2 ** (bits - 1) - 1}")
    return str(int(number))


def _float(largest: float, smallest: float, value: Any) -> str:
    number = _number(value)
    if abs(number) > Decimal(largest) or 0 < abs(number) < Decimal(smallest):
        raise ValueUnfit("no number of this size has this type; take `numeric`")
    return str(value)


def _numeric(field: EntityField, value: Any) -> str:
    number = _number(value)
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits)).rstrip("0")
    behind = max(0, -(exponent + len(digits) - len(written))) if written else 0
    if field.precision is None:
        return str(value)
    scale = field.scale or 0
    if behind > scale:
        raise ValueUnfit(f"this has at most {scale} digits behind the point")
    if written and number.adjusted() >= field.precision - scale:
        raise ValueUnfit(f"this has at most {field.precision - scale} digits before the point")
    return str(value)


def _number(value: Any) -> Decimal:
    if not isinstance(value, Number):
        raise ValueUnfit("this is a number")
    check_number(value)
    return Decimal(value)


def check_number(value: Number) -> None:
    """Raise ValueUnfit for a number that would have too many digits."""
    exponent = _EXPONENT.search(value)
    if len(value) > MOST_DIGITS or (exponent is not None and not -MOST_DIGITS < int(exponent[1]) < MOST_DIGITS):
        raise ValueUnfit(f"a number has at most {MOST_DIGITS} digits")


def _date(value: Any) -> str:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return _possible(lambda: date.fromisoformat(value).isoformat(), "there is no such day")
    raise ValueUnfit("this is a day such as `2026-11-22`")


def _time(value: Any) -> str:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return _possible(lambda: time.fromisoformat(value).isoformat(), "there is no such time")
    raise ValueUnfit("this is a time such as `08:30:00`")


def _timestamp(value: Any) -> str:
    if isinstance(value, str) and _TIMESTAMP.fullmatch(value):
        return _possible(
            lambda: datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat(), "there is no such moment"
        )
    raise ValueUnfit("this is a moment with its zone, such as `2026-11-22T08:30:00Z`")


def _possible(read: Callable[[], str], otherwise: str) -> str:
    try:
        return read()
    except (ValueError, OverflowError):
        raise ValueUnfit(otherwise) from None


def _uuid(value: Any) -> str:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return str(UUID(value))
    raise ValueUnfit("this is a UUID such as `3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10`")


def _json(value: Any) -> str:
    _check_json(value)
    return write(value)


def _check_json(value: Any) -> None:
    if isinstance(value, Number):
        check_number(value)
    elif isinstance(value, str):
        _storable(value)
    elif isinstance(value, dict):
        for name, one in value.items():
            _storable(name)
            _check_json(one)
    elif isinstance(value, list):
        for one in value:
            _check_json(one)


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueUnfit("PostgreSQL keeps no text with the character U+0000")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueUnfit("a half of a surrogate pair is no character") from None
    return value


_READ: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": _text,
    "boolean": _boolean,
    "smallint": partial(_integer, 16),
    "integer": partial(_integer, 32),
    "bigint": partial(_integer, 64),
    "real": partial(_float, _LARGEST_REAL, _SMALLEST_REAL),
    "double": partial(_float, 1.7976931348623157e308, 2.4703282292062328e-324),
    "date": _date,
    "timestamp": _timestamp,
    "time": _time,
    "uuid": _uuid,
    "json": _json,
}
