"""Values as the server orders them: fields of the stream, in either form, as Python values that compare so (pure)."""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from struct import Struct
from typing import Any, Final

Reader = Callable[[bytes], Any]

_DATE: Final = re.compile(rb"(\d{4,})-(\d\d)-(\d\d)")
_TIME: Final = re.compile(rb"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
_EPOCH_DAYS: Final = 730_425
_DAY_MICROS: Final = 86_400_000_000
_DATE_END: Final = (1 << 31) - 1
_STAMP_END: Final = (1 << 63) - 1
_float4 = Struct("!f")
_float8 = Struct("!d")
_numeric = Struct("!HhHH").unpack_from
_NUMERIC_NAN, _NUMERIC_PLUS, _NUMERIC_MINUS, _NEGATIVE = 0xC000, 0xD000, 0xF000, 0x4000
# Numbers that are not one stand behind all others (PostgreSQL manual, 8.1.2 and 8.1.3).
_NAN: Final = (1, 0)

TEXTS: Final = frozenset({"text", "character varying", "bpchar"})


def reader_of(kind: str, *, text_form: bool) -> Reader | None:
    """What makes a comparable value of an unframed field of a type; None for types that cannot be compared here.

    Two fields, in whatever form, are equal or in order exactly where the server says so; of texts only where their
    collation is deterministic, and in order only where it is `C` and the server's encoding UTF8.
    """
    return (_TEXT if text_form else _BINARY).get(kind)


def _integer(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _numeric_text(value: bytes) -> tuple[int, Any]:
    return _NAN if value == b"NaN" else (0, Decimal(value.decode()))


def _numeric_binary(value: bytes) -> tuple[int, Any]:
    count, weight, sign, _ = _numeric(value)
    if sign == _NUMERIC_NAN:
        return _NAN
    if sign in (_NUMERIC_PLUS, _NUMERIC_MINUS):
        return 0, Decimal("Infinity" if sign == _NUMERIC_PLUS else "-Infinity")
    digits = "".join(f"{int.from_bytes(value[at : at + 2]):04}" for at in range(8, 8 + 2 * count, 2)) or "0"
    return 0, Decimal(f"{'-' * (sign == _NEGATIVE)}{digits}E{4 * (weight - count + 1)}")


def _float(value: float) -> tuple[int, float]:
    return _NAN if math.isnan(value) else (0, value)


def _date_text(value: bytes) -> int:
    if value.endswith(b"infinity"):
        return -_DATE_END - 1 if value[:1] == b"-" else _DATE_END
    return _days(value)


def _stamp_text(value: bytes) -> int:
    if value.endswith(b"infinity"):
        return -_STAMP_END - 1 if value[:1] == b"-" else _STAMP_END
    return _days(value) * _DAY_MICROS + _time_text(value)


def _time_text(value: bytes) -> int:
    found = _TIME.search(value)
    if found is None:
        raise ValueError(f"{value!r} has no time")
    hours, minutes, seconds = (int(part) for part in found.group(1, 2, 3))
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int((found[4] or b"").ljust(6, b"0"))


def _days(value: bytes) -> int:
    """Days since 2000-01-01 of an ISO date in the proleptic Gregorian calendar; there is no year 0 before BC."""
    found = _DATE.match(value)
    if found is None:
        raise ValueError(f"{value!r} is no date")
    year, month, day = (int(part) for part in found.groups())
    if value.endswith(b"BC"):
        year = 1 - year
    # A year that begins in March has its leap day at the end.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1 - _EPOCH_DAYS


def _padded(value: bytes) -> bytes:
    return value.rstrip(b" ")


_SAME: Final[Mapping[str, Reader]] = {"text": bytes, "character varying": bytes, "bpchar": _padded}
_TEXT: Final[Mapping[str, Reader]] = {
    **_SAME,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "numeric": _numeric_text,
    "real": lambda value: _float(_float4.unpack(_float4.pack(float(value)))[0]),
    "double precision": lambda value: _float(float(value)),
    "boolean": lambda value: value == b"t",
    "date": _date_text,
    "time without time zone": _time_text,
    "timestamp without time zone": _stamp_text,
    "timestamp with time zone": _stamp_text,
    "uuid": lambda value: bytes.fromhex(value.decode().replace("-", "")),
    "bytea": lambda value: bytes.fromhex(value[2:].decode()),
}
_BINARY: Final[Mapping[str, Reader]] = {
    **_SAME,
    "smallint": _integer,
    "integer": _integer,
    "bigint": _integer,
    "numeric": _numeric_binary,
    "real": lambda value: _float(_float4.unpack(value)[0]),
    "double precision": lambda value: _float(_float8.unpack(value)[0]),
    "boolean": lambda value: value == b"\x01",
    "date": _integer,
    "time without time zone": _integer,
    "timestamp without time zone": _integer,
    "timestamp with time zone": _integer,
    "uuid": bytes,
    "bytea": bytes,
}
