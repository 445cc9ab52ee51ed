"""A message of a topic, with the key it brings apart, read as changes (pure)."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from nms.common.change import Change, Shape
from nms.common.messages import MESSAGE_LIMIT, check_size, find, read_delete, read_message
from nms.common.strict_json import parse

KEY_LINE = b"kafka-key: "
HEAD_BYTES = 64 << 10
_MISSING: Any = object()


def read_record(key: bytes | None, value: bytes | None, shape: Shape, *, limit: int = MESSAGE_LIMIT) -> list[Change]:
    """The changes of one message; raises a MessageUnreadable that says what is wrong.

    Without a value it is a tombstone: the record of its key is deleted. The key, a JSON object or (where the dataset's
    key has one field) a JSON value or plain text, supplies the key fields that the value lacks.
    """
    check_size(len(value or b""), limit)
    beside = _read_key(key, shape)
    if value is None:
        return [read_delete(beside, shape)]
    return read_message(value, shape, limit=limit, beside=beside)


def hold(key: bytes | None, value: bytes | None, *, limit: int = MESSAGE_LIMIT) -> bytes:
    """A message that could not be read as one body; of a value that is too large only the beginning is kept."""
    body = value or b""
    if len(body) > limit:
        body = body[:HEAD_BYTES]
    if key is None or len(key) > HEAD_BYTES or b"\n" in key:
        return body
    # A tombstone ends with its key; an empty value, which deletes nothing, has a line of its own.
    return KEY_LINE + key + (b"" if value is None else b"\n" + body)


def poison_key(place: str, key: bytes | None, value: bytes | None) -> str:
    """What names a message when it is held: its place, and its content, since a topic made anew has its places too."""
    digest = sha256(repr((key, value)).encode()).hexdigest()
    return f"{place}/{digest[:12]}"


def read_held(body: bytes, shape: Shape, *, limit: int = MESSAGE_LIMIT) -> list[Change]:
    """The changes of a message that was held; raises a MessageUnreadable."""
    if not body.startswith(KEY_LINE):
        return read_record(None, body, shape, limit=limit)
    key, line_end, value = body.removeprefix(KEY_LINE).partition(b"\n")
    return read_record(key, value if line_end else None, shape, limit=limit)


def _read_key(key: bytes | None, shape: Shape) -> Mapping[str, Any]:
    names = [shape.columns[at].name for at in shape.key]
    value = _parse_key(key) if key else None
    if isinstance(value, dict):
        found = {name: find(value, name, _MISSING) for name in names}
        return {name: one for name, one in found.items() if one is not _MISSING}
    if len(names) == 1 and isinstance(value, str | bool):
        return {names[0]: value}
    return {}


def _parse_key(key: bytes) -> Any:
    try:
        return parse(key)
    except UnicodeDecodeError:
        return None
    except ValueError:
        return key.decode()
