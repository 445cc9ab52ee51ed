"""Fields as a person reads them: for messages and lists, never for data."""

import uuid
from collections.abc import Callable, Mapping

from nms.common.change import Change, Shape, split_key, unframe


def show_key(shape: Shape, key: bytes, *, text_form: bool) -> str:
    """A key as text: its fields joined by commas; binary forms that have no short text stand as hex; empty for none."""
    if not key:
        return ""
    types = [shape.columns[at].type for at in shape.key]
    fields = split_key(key)
    return ",".join(_show(field, kind, text_form) for field, kind in zip(fields, types, strict=True))


def show_values(change: Change, *, text_form: bool) -> dict[str, str | None]:
    """The values of a change by column; those left out as unchanged are left out."""
    pairs = zip(change.shape.columns, change.values, strict=False)
    return {column.name: _show(field, column.type, text_form) for column, field in pairs if field is not None}


def _show(field: bytes, kind: str, text_form: bool) -> str:
    value = unframe(field)
    if value is None:
        return "null"
    reader = None if text_form else _BINARY.get(kind)
    if reader is not None:
        return reader(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "0x" + value.hex()
    return text if text.isprintable() else "0x" + value.hex()


def _integer(value: bytes) -> str:
    return str(int.from_bytes(value, "big", signed=True))


_BINARY: Mapping[str, Callable[[bytes], str]] = {
    "smallint": _integer,
    "integer": _integer,
    "bigint": _integer,
    "uuid": lambda value: str(uuid.UUID(bytes=value)),
    "boolean": lambda value: "true" if value == b"\x01" else "false",
    "jsonb": lambda value: value[1:].decode(errors="replace"),
}
