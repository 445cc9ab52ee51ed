"""Strict JSON (RFC 8259): no duplicate names, no NaN, bounded depth; numbers stay as they were written. Pure."""

import json
import re
from collections import Counter
from json.encoder import encode_basestring
from typing import Any, NoReturn

DEPTH_LIMIT = 100
# A string that does not end goes to the end of the text, and nothing is tried twice: else time grows with its square.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class Number(str):
    """A JSON number as it was written: neither its digits nor its size are lost."""

    __slots__ = ()


class TooDeep(ValueError):
    """Arrays and objects stand in each other deeper than is allowed."""


def parse(body: bytes, *, depth: int = DEPTH_LIMIT) -> Any:
    """The value of a JSON text in UTF-8, numbers as `Number`; raises ValueError that says what is wrong and where."""
    text = body.decode()
    if body.count(b"{") + body.count(b"[") > depth:
        check_depth(text, depth)
    return _DECODER.decode(text)


def write(value: Any) -> str:
    """The JSON text of a parsed value, without blanks between its parts."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring(name)}:{write(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return _LITERALS[value]


def check_depth(text: str, limit: int = DEPTH_LIMIT) -> None:
    """Raise TooDeep for a JSON text in which arrays and objects stand deeper."""
    depth = 0
    for token in _BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > limit:
                raise TooDeep(f"arrays and objects stand deeper than {limit} levels at character {token.start()}")
        elif token[0] in "]}":
            depth -= 1


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object; raises ValueError where a name stands twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the name {twice!r} stands twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_LITERALS = {None: "null", True: "true", False: "false"}
_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_members, parse_float=Number, parse_int=Number, parse_constant=_no_constant
)
