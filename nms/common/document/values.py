"""The single values that documents are made of: names, tables, columns, sizes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NAME_LENGTH: Final = 40
IDENTIFIER_BYTES: Final = 63
_NAME: Final = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_$]*")
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
_CHANNEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/+*#@-]{0,254}")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8}) ?(ms|s|min|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = 1e15
_SIZE: Final = re.compile(r"([1-9][0-9]{0,17}) ?(kB|MB|GB|TB)?")
_UNITS: Final = {"TB": 1 << 40, "GB": 1 << 30, "MB": 1 << 20, "kB": 1 << 10}


def refusal(sentence: str) -> PydanticCustomError:
    """The error of a validator: one sentence, shown as it is, beside the field's pointer."""
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def check_name(value: object) -> str:
    """A name of a document: lower case letters, digits and `-`, so that slot names can be derived from it."""
    if not isinstance(value, str):
        raise refusal("a name is a text; put it in quotes")
    if len(value) > NAME_LENGTH:
        raise refusal(f"a name has at most {NAME_LENGTH} characters, this one has {len(value)}")
    if not _NAME.fullmatch(value):
        raise refusal("a name is made of lower case letters, digits and `-`, begins with a letter, ends without `-`")
    return value


def check_identifier(value: object) -> str:
    """An identifier as PostgreSQL's catalog has it: 1 to 63 bytes, case kept, no quotes around it."""
    if not isinstance(value, str):
        raise refusal("an identifier is a text; put it in quotes")
    size = len(value.encode("utf-8", "replace"))
    if not 1 <= size <= IDENTIFIER_BYTES:
        raise refusal(f"an identifier has 1 to {IDENTIFIER_BYTES} bytes, this one has {size}")
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        raise refusal("an identifier has no control characters and no half surrogates")
    return value


def parse_size(value: object) -> int:
    """Bytes of `4GB`, `512 MB` or a bare number of bytes; units are PostgreSQL's, powers of 1024."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refusal("a size is a number with kB, MB, GB or TB behind it, such as `4GB`")
    return int(match[1]) * _UNITS.get(match[2], 1)


def render_size(value: int) -> str | int:
    """The shortest exact form of a number of bytes."""
    for unit, factor in _UNITS.items():
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return value


def parse_duration(value: object) -> float:
    """Seconds of `30s`, `500 ms`, `5min`, `1h` or `1d`, or a number of them that can be written so."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _read_seconds(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refusal("a duration is a number with ms, s, min, h or d behind it, such as `30s`")
    return int(match[1]) * _SECONDS[match[2]]


def _read_seconds(value: float) -> float:
    # What is stored and exported is the text: a number that has none would come back as another one, or not at all.
    match = _DURATION.fullmatch(render_duration(value)) if 0 < value < _LONGEST else None
    seconds = 0.0 if match is None else int(match[1]) * _SECONDS[match[2]]
    if match is None or abs(seconds - value) > value * 1e-12:
        raise refusal("a number of seconds is positive and of whole milliseconds; write it as `30s` or `1500 ms`")
    return seconds


def render_duration(value: float) -> str:
    """The shortest exact form of a number of seconds."""
    for unit, factor in reversed(_SECONDS.items()):
        if value >= factor and round(value * 1000) % round(factor * 1000) == 0:
            return f"{round(value / factor)}{unit}"
    return f"{round(value * 1000)}ms"


def only(today: tuple[str, ...], later: tuple[str, ...]) -> Callable[[object], object]:
    """A check that takes the words of `today` and tells those of `later` apart from mistakes."""

    def check(value: object) -> object:
        offered = " or ".join(f"`{word}`" for word in today)
        if value in later:
            raise refusal(f"`{value}` is not yet available; today it is {offered}")
        if value not in today:
            raise refusal(f"this is {offered}")
        return value

    return check


@dataclass(frozen=True, slots=True, order=True)
class Table:
    """A table of a PostgreSQL database by schema and name, both as the catalog has them."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{_render_part(self.schema)}.{_render_part(self.name)}"

    @classmethod
    def parse(cls, value: object) -> "Table":
        """Read `schema.table`; parts with other than lower case letters, digits, `_` and `$` stand in double quotes.

        Unquoted capitals are refused, not folded: the reader of a document need not know SQL's folding rule.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise refusal("a table is a text such as `public.subscription`")
        parts = _split_parts(value)
        if len(parts) == 1:
            raise refusal(f"name the schema too, such as `public.{value}`")
        if len(parts) != 2:
            raise refusal("a table is written `schema.table`; a dot inside a name needs double quotes around it")
        return cls(*parts)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema(when_used="always")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "string",
            "title": "Table",
            "description": "schema.table; other than lower case letters, digits, _ and $ in double quotes",
            "examples": ["public.subscription", '"My Schema"."Table"'],
        }


def check_dataset(value: object) -> str:
    """The name of a dataset in its normal form: a table by schema and name, or the name of a queue or topic."""
    try:
        return str(Table.parse(value))
    except PydanticCustomError:
        if isinstance(value, str) and _CHANNEL.fullmatch(value):
            return value
        raise


def _render_part(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    return '"' + part.replace('"', '""') + '"'


def _split_parts(text: str) -> list[str]:
    parts: list[str] = []
    at = 0
    while True:
        match = _PART.match(text, at)
        if match is None:
            raise refusal('a table is written `schema.table` or `"My Schema"."Table"`')
        parts.append(_read_part(match))
        at = match.end()
        if at == len(text):
            return parts
        if text[at] != ".":
            raise refusal("between schema and table stands one dot, quotes enclose a whole name")
        at += 1


def _read_part(match: re.Match[str]) -> str:
    if match[1] is not None:
        return check_identifier(match[1].replace('""', '"'))
    if not _PLAIN.fullmatch(match[2]):
        raise refusal(f'`{match[2]}` needs double quotes around it: `"{match[2]}"`')
    return check_identifier(match[2])


Name = Annotated[
    str,
    BeforeValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$", "maxLength": NAME_LENGTH}),
]
Column = Annotated[
    str,
    BeforeValidator(check_identifier),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": IDENTIFIER_BYTES}),
]
DatasetName = Annotated[
    str,
    BeforeValidator(check_dataset),
    WithJsonSchema(
        {
            "type": "string",
            "description": "a table as schema.table (other than lower case letters, digits, _ and $ in double quotes), "
            "a queue, a topic, or EXCHANGE/ROUTING.KEY",
            "examples": ["public.subscription", '"My Schema"."Table"', "subscription-status"],
        }
    ),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(render_duration),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,8} ?(ms|s|min|h|d)$", "examples": ["30s", "5min"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(render_size),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": "^[1-9][0-9]{0,17} ?(kB|MB|GB|TB)?$", "examples": ["4GB"]}
    ),
]
