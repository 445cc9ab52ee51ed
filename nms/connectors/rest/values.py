"""Values on their way to a REST API: fields of a database as JSON, and when two values are the same (pure)."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from nms.common.change import Change, Field, Shape, split_key, unframe
from nms.common.strict_json import Number, parse, write
from nms.connectors.rest.arrays import read_array

Record = dict[str, Any]
"""Fields by their names at the remote, as `strict_json.parse` gives values."""

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMERIC: Final = re.compile(r"[-+]?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][-+]?[0-9]{1,3})?")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[-+]\d\d(?::?\d\d)?)?")
_NUMBERS: Final = ("smallint", "integer", "bigint", "real", "double precision", "numeric")
_TIMES: Final = ("timestamp without time zone", "timestamp with time zone")


def values_of(change: Change, names: Mapping[str, str]) -> Record:
    """The known values of a change by their names at the remote; raises ValueError where one has no form in JSON."""
    pairs = zip(change.shape.columns, change.values, strict=False)
    return {names.get(column.name, column.name): to_json(field, column.type) for column, field in pairs if field}


def key_of(shape: Shape, key: bytes, names: Mapping[str, str]) -> Record:
    """The fields of a key by their names at the remote."""
    columns = [shape.columns[at] for at in shape.key]
    fields = zip(columns, split_key(key), strict=True)
    return {names.get(column.name, column.name): to_json(field, column.type) for column, field in fields}


def to_json(field: Field, kind: str) -> Any:
    """A field in text form as a JSON value: numbers keep their digits, moments become RFC 3339, arrays are arrays."""
    value = unframe(field or b"")
    return None if value is None else _read(value.decode(), kind)


def _read(text: str, kind: str) -> Any:
    if kind in ("json", "jsonb"):
        return parse(text.encode())
    if kind.endswith("[]") and kind != "box[]":
        # The elements of a box array alone are parted by another mark than the comma.
        return _each(read_array(text), kind.removesuffix("[]"))
    if kind in _NUMBERS and _NUMBER.fullmatch(text):
        return Number(text)
    if kind == "boolean":
        return text in ("t", "true")
    return _moment(text) if kind in _TIMES and _MOMENT.fullmatch(text) else text


def _each(elements: list[Any], kind: str) -> list[Any]:
    return [
        _each(one, kind) if isinstance(one, list) else None if one is None else _read(one, kind) for one in elements
    ]


def is_same(ours: Any, theirs: Any) -> bool:
    """Whether the remote has what we mean: numbers by value, moments by time, null like a member that is not there."""
    if type(ours) is type(theirs) and ours == theirs:
        return True
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(is_same(ours.get(name), theirs.get(name)) for name in {*ours, *theirs})
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    if isinstance(ours, str) and isinstance(theirs, str):
        if isinstance(ours, Number) or isinstance(theirs, Number):
            return _alike(ours, theirs, _NUMERIC, Decimal)
        return _alike(ours, theirs, _MOMENT, _time)
    return False


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The names of our values that the remote has otherwise."""
    return [name for name, value in ours.items() if not is_same(value, theirs.get(name))]


def as_text(value: Any) -> str:
    """A value as it stands in a path or a parameter; empty for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def is_alike(ours: str, theirs: str) -> bool:
    """Whether texts are one but for what many remotes do to them: blanks around, case, how a number is written."""
    return ours.strip().casefold() == theirs.strip().casefold() or _alike(ours, theirs, _NUMERIC, Decimal)


def as_kept(value: Any) -> str:
    """A value as a JSON text that a database keeps: halves of surrogate pairs, which some remotes make, become `?`."""
    return write(value).encode(errors="replace").decode()


def _alike(ours: str, theirs: str, form: re.Pattern[str], read: Callable[[str], Any]) -> bool:
    try:
        return bool(form.fullmatch(ours) and form.fullmatch(theirs) and read(ours) == read(theirs))
    except ValueError:
        return False


def _moment(text: str) -> str:
    text = text.replace(" ", "T")
    return text + ":00" if re.search(r"[-+]\d\d$", text[10:]) else text


def _time(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)
