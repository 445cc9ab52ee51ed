"""PostgreSQL's text of an array (manual, 8.15.6) as nested lists of texts (pure)."""

import re
from typing import Any, Final

_TOKEN: Final = re.compile(r'([{},])|"((?:[^"\\]|\\.)*+)"|([^{},"\\\s]++)', re.DOTALL | re.ASCII)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def read_array(text: str) -> list[Any]:
    """The elements, None for NULL; bounds other than from 1 are left out. Raises ValueError for what is no array."""
    body = text.partition("=")[2] if text.startswith("[") else text
    stack: list[list[Any]] = [[]]
    at = 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            raise ValueError(f"no array at character {at}")
        mark, quoted, plain = found.groups()
        if mark == "{":
            stack[-1].append([])
            stack.append(stack[-1][-1])
        elif mark == "}":
            stack.pop()
        elif mark is None:
            stack[-1].append(_element(quoted, plain))
        if not stack:
            raise ValueError(f"no array at character {at}")
        at = found.end()
    if len(stack) != 1 or len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise ValueError("no array")
    return stack[0][0]


def _element(quoted: str | None, plain: str | None) -> str | None:
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted)
    return None if plain == "NULL" else plain
