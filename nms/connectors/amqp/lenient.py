"""Properties of messages that senders fill wrongly: they must not end the connection, again and again.

The driver's decoder (pamqp 4) raises for a time beyond the year 9999 (as a clock in microseconds gives), for names that
are not UTF-8 and for headers of unknown types; the broker delivers such a message first at each new try, so the queue
would stand still for ever. None of these properties is needed: what cannot be read is taken for absent.
"""

from collections.abc import Callable
from typing import Any

from pamqp import decode

Decoder = Callable[[bytes], tuple[int, Any]]
_STRICT: dict[str, Decoder] = {name: decode.METHODS[name] for name in ("timestamp", "shortstr", "table")}


def be_lenient() -> None:
    """Let the driver of this process pass over properties it cannot read; safe to call twice."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_text
    decode.METHODS["table"] = _table


def _timestamp(value: bytes) -> tuple[int, Any]:
    try:
        return _STRICT["timestamp"](value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _short_text(value: bytes) -> tuple[int, Any]:
    try:
        return _STRICT["shortstr"](value)
    except UnicodeDecodeError:
        end = value[0] + 1
        return end, value[1:end].decode(errors="backslashreplace")


def _table(value: bytes) -> tuple[int, Any]:
    try:
        return _STRICT["table"](value)
    except (ValueError, OverflowError):
        return 4 + int.from_bytes(value[:4], "big"), {}
