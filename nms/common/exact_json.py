"""JSON in which numbers are numbers, for expressions, and remember how they were written, for the target. Pure."""

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

from nms.common.strict_json import Number, check_depth, unique_members


def parse(text: bytes, *, unique: bool = False) -> Any:
    """A JSON text in UTF-8; the last of equal members counts, or is refused. Raises ValueError that says what is wrong.

    Half of a surrogate pair is taken.
    """
    decoded = text.decode()
    check_depth(decoded)
    return (_UNIQUE if unique else _LAST).decode(decoded)


def as_written(value: Any) -> Any:
    """A parsed value with its numbers as `Number`, digit by digit as they came."""
    if isinstance(value, dict):
        return {name: as_written(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_written(one) for one in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return Number(value.text if isinstance(value, _Digits) else repr(value))


class _Digits(float):
    """A fraction that remembers how it was written; JMESPath takes it for the number that it is."""

    text: str
    __slots__ = ("text",)

    def __new__(cls, text: str) -> "_Digits":
        made = super().__new__(cls, text)
        made.text = text
        return made


# JMESPath's functions know types by their names (jmespath.functions.TYPES_MAP).
_Digits.__name__ = "float"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_DIGITS: Final[Callable[[str], Any]] = _Digits
_LAST: Final = json.JSONDecoder(parse_float=_DIGITS, parse_constant=_no_constant)
_UNIQUE: Final = json.JSONDecoder(object_pairs_hook=unique_members, parse_float=_DIGITS, parse_constant=_no_constant)
