"""One spelling for values that name a row: equal keys must be equal bytes, or their order would be lost (pure)."""

import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext

_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", re.ASCII)

_FINER = re.compile(r"[.,][0-9]{7}", re.ASCII)


def canonical(text: str, kind: str) -> str:
    """The one spelling of a value of a PostgreSQL type; the text itself where the type is unknown or rejects it."""
    spell = _SPELL.get(kind)
    if spell is not None:
        with suppress(ValueError, ArithmeticError):
            return spell(text.strip())
    return text


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    with localcontext() as context:
        context.prec = 2_000
        value = Decimal(text)
        if abs(value.adjusted()) > 1_000:
            raise ValueError(text)
        shown = format(value.normalize(), "f")
    return "0" if shown in ("-0", "0") else shown


def _boolean(text: str) -> str:
    return {"t": "true", "f": "false"}.get(text.lower(), text.lower())


def _timestamp(text: str) -> str:
    return _read_time(text).replace(tzinfo=None).isoformat(sep=" ")


def _moment(text: str) -> str:
    value = _read_time(text)
    if value.tzinfo is None:
        raise ValueError(text)
    return value.astimezone(UTC).isoformat(sep=" ")


def _read_time(text: str) -> datetime:
    # More digits are rounded by PostgreSQL, and cut off here.
    if _FINER.search(text):
        raise ValueError(text)
    return datetime.fromisoformat(text)


_SPELL: Mapping[str, Callable[[str], str]] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric"), _number),
    "uuid": lambda text: str(uuid.UUID(text)),
    "boolean": _boolean,
    "bpchar": lambda text: text.rstrip(" "),
    "date": lambda text: date.fromisoformat(text).isoformat(),
    "timestamp without time zone": _timestamp,
    "timestamp with time zone": _moment,
}
