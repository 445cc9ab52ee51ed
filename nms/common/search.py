"""JMESPath expressions on parsed JSON (jmespath.org, specification), as documents hold them (pure)."""

import json
import re
from functools import lru_cache
from typing import Any, Final

import jmespath

_MEMBER: Final = r'(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")'
_PLAIN: Final = re.compile(rf"\s*{_MEMBER}(?:\s*\.\s*{_MEMBER})*\s*")
_NAME: Final = re.compile(_MEMBER)


def search(body: Any, expression: str) -> Any:
    """What an expression finds; None where it finds nothing or meets a value of another type."""
    if expression == "@":
        return body
    path = raw_path(expression)
    if path is None:
        try:
            return _compiled(expression).search(body)
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            # JMESPathError is a ValueError; functions on numbers that no double holds raise the others.
            return None
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


@lru_cache(1_000)
def raw_path(expression: str) -> tuple[str, ...] | None:
    """The members that a plain path names one below the other, () for the whole; None for any other expression."""
    if expression.strip() == "@":
        return ()
    if not _PLAIN.fullmatch(expression):
        return None
    names = _NAME.findall(expression)
    return tuple(json.loads(name) if name.startswith('"') else name for name in names)


@lru_cache(1_000)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)
