"""Values as they stand in a request: checked, and spelled so that PostgreSQL takes them for the same (pure)."""

import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Final
from urllib.parse import unquote_to_bytes
from uuid import UUID

from nms.common import strict_json
from nms.common.document import EntityDocument
from nms.common.problem import Malformed, Pointer

LONGEST_NUMBER: Final = 400
"""Characters of a number, and its largest power of ten: more than any field holds."""
Spell = Callable[[str], str]
_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,20}", re.ASCII)
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE]([-+]?[0-9]{1,3}))?", re.ASCII)
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE]([-+]?[0-9]{1,3}))?", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_CLOCK: Final = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
_TIME: Final = re.compile(_CLOCK, re.ASCII)
_MOMENT: Final = re.compile(
    rf"({_DATE.pattern})(?:[T ]({_CLOCK})(Z|[-+][0-9]{{2}}:?[0-9]{{2}}| [0-9]{{2}}:?[0-9]{{2}})?)?"
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_BITS: Final = {"smallint": 15, "integer": 31, "bigint": 63}


def spell(kind: str, text: str) -> str:
    """The text of a value of a field's type as PostgreSQL reads it; raises ValueError with what is wrong."""
    return _SPELL[kind](text)


def spell_text(text: str) -> str:
    """A text that PostgreSQL can hold; raises ValueError."""
    if "\0" in text:
        raise ValueError("a text holds no character zero")
    if not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text):
        raise ValueError("half of a surrogate pair is no character")
    return text


def spell_pattern(text: str) -> str:
    """A pattern of `like`; raises ValueError."""
    stripped = text.rstrip("\\")
    if (len(text) - len(stripped)) % 2:
        raise ValueError("a pattern cannot end with a single backslash: write two for one")
    return spell_text(text)


def read_key(document: EntityDocument, segment: str) -> list[str]:
    """The values of the key that the part of a path names, percent-encoded and joined by commas; raises Malformed."""
    parts = segment.split(",")
    try:
        if len(parts) != len(document.key):
            raise ValueError("this is " + ",".join(f"{{{name}}}" for name in document.key))
        texts = [unquote_to_bytes(part).decode() for part in parts]
        return [spell(document.fields[name].type, text) for name, text in zip(document.key, texts, strict=True)]
    except UnicodeDecodeError:
        told = "this is no text in UTF-8"
    except ValueError as error:
        told = str(error)
    raise Malformed("The path names no record.", pointers=[Pointer("/key", told, "path")])


def is_json_number(text: str) -> bool:
    """Whether a text is a JSON number that PostgreSQL can compare."""
    found = _JSON_NUMBER.fullmatch(text)
    return found is not None and len(text) <= LONGEST_NUMBER and _is_near(found[1])


def spell_json(text: str) -> str | None:
    """A text that is JSON itself, as PostgreSQL can hold it; None where it is only a text."""
    if text in ("true", "false") or is_json_number(text):
        return text
    if not text.startswith(("{", "[", '"')):
        return None
    try:
        return spell_text(strict_json.write(checked_json(strict_json.parse(text.encode()))))
    except (ValueError, RecursionError):
        return None


def json_of_text(text: str) -> str:
    """A text as a JSON string; raises ValueError."""
    return strict_json.write(spell_text(text))


def checked_json(value: object) -> object:
    """The same value; raises ValueError where a number or a text in it is not for PostgreSQL."""
    if isinstance(value, strict_json.Number):
        if not is_json_number(value):
            raise ValueError("this number is too large")
    elif isinstance(value, str):
        spell_text(value)
    elif isinstance(value, dict):
        for name, member in value.items():
            spell_text(name)
            checked_json(member)
    elif isinstance(value, list):
        for member in value:
            checked_json(member)
    return value


def _is_near(exponent: str | None) -> bool:
    return exponent is None or abs(int(exponent)) <= LONGEST_NUMBER


def _whole(kind: str) -> Callable[[str], str]:
    limit = 1 << _BITS[kind]

    def spell_whole(text: str) -> str:
        if not _WHOLE.fullmatch(text):
            raise ValueError("this is not a whole number")
        if not -limit <= int(text) < limit:
            raise ValueError(f"this is out of the range of {kind}")
        return str(int(text))

    return spell_whole


def _number(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError("this is not a number")
    if len(text) > LONGEST_NUMBER or not _is_near(found[1]):
        raise ValueError("this number is longer than any that is stored")
    return text


def _real(text: str) -> str:
    value = float(_number(text))
    try:
        kept = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        raise ValueError("this is out of the range of real") from None
    if kept in (float("inf"), float("-inf")) or (kept == 0 and _is_not_zero(text)):
        raise ValueError("this is out of the range of real")
    return text


def _double(text: str) -> str:
    value = float(_number(text))
    if value in (float("inf"), float("-inf")) or (value == 0 and _is_not_zero(text)):
        raise ValueError("this is out of the range of double")
    return text


def _is_not_zero(text: str) -> bool:
    return re.search(r"[1-9]", re.split("[eE]", text)[0]) is not None


def _boolean(text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError("this is neither `true` nor `false`")
    return text


def _date(text: str) -> str:
    if not _DATE.fullmatch(text):
        raise ValueError("write a date as 2026-12-31")
    return date.fromisoformat(text).isoformat()


def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError("write a time as 23:59:59.999999")
    return time.fromisoformat(text).isoformat()


def _moment(text: str) -> str:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError("write a time as 2026-12-31T23:59:59Z, with its zone or in UTC")
    day, clock, zone = found.groups()
    if zone is not None and zone.startswith(" "):
        raise ValueError("a `+` is a blank in an address: write it as %2B")
    value = datetime.combine(date.fromisoformat(day), time.fromisoformat(clock or "00:00"))
    if zone in (None, "Z"):
        return value.replace(tzinfo=UTC).isoformat()
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 15 or minutes > 59:
        raise ValueError("a zone is at most 15:59 away from UTC")
    return f"{value.isoformat()}{zone[:3]}:{zone[-2:]}"


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("this is not a UUID")
    return str(UUID(text))


_SPELL: Final[Mapping[str, Callable[[str], str]]] = {
    "text": spell_text,
    "boolean": _boolean,
    **{kind: _whole(kind) for kind in _BITS},
    "numeric": _number,
    "real": _real,
    "double": _double,
    "date": _date,
    "timestamp": _moment,
    "time": _time,
    "uuid": _uuid,
}
