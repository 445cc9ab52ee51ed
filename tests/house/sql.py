"""SQL stands in `.sql` files: named verb_noun, lower case, `text` and `timestamptz`; Python holds none of it."""

import ast
import re
from collections.abc import Iterator

from tests.house.tree import File

VERBS = {
    "get", "list", "count", "insert", "upsert", "update", "delete", "claim", "mark", "purge",
    # Where none of the ten says it: a lock is taken, a lease renewed, an id or a number taken, waiters
    # notified, a place in the order stamped on.
    "lock", "renew", "take", "notify", "stamp",
}  # fmt: skip
_NAME = re.compile(r"^\s*--\s*name:\s*(\S+)", re.M)
_GOOD_NAME = re.compile(r"([a-z]+)(_[a-z0-9]+)+(\([a-z0-9_, ]*\))?[\^$!#*<]*(!)?")
# What may hold capitals: comments, quoted names, literals (with their doubled quotes).
_QUOTED = re.compile(r"--[^\n]*|/\*.*?\*/|\"(?:[^\"]|\"\")*\"|[eE]?'(?:[^']|'')*'", re.S)
_SHOUTED = re.compile(r"\b[a-z_0-9]*[A-Z]\w*")
_TYPES = {
    r"\b(varchar|character varying|char)\b": "text",
    r"\btimestamp\b(?! with time zone)": "timestamptz",
    r"\b(small|big)?serial\b": "an identity column",
}
# Statements over data and their makers. Transaction control and `set` are the wire's own words and may stand anywhere.
_STATEMENT = re.compile(
    r"""\s*(--[^\n]*\n\s*)*(
        select\s+(?!one\b)\S | insert\s+into\s | update\s+\S+(\s+\w+)?\s+set\s | delete\s+from\s | merge\s+into\s
        | truncate\s+\S | copy\s+[^\s:]+(\s*\(.*\))?\s+(from|to)\s | copy\s+\(
        | with\s+(recursive\s+)?\w+(\s*\([^)]*\))?\s+as\s+(not\s+|materialized\s*)*\(
        | (create|alter|drop|comment\s+on)\s+(or\s+replace\s+|temp(orary)?\s+|unlogged\s+|unique\s+|if\s+exists\s+)*
          (table|schema|database|role|user|publication|subscription|function|procedure|trigger|index|view|materialized
           |type|domain|sequence|extension|system|server)\s
        | (grant|revoke)\s+[\w, ]+\s+on\s | notify\s+\w | listen\s+\w | unlisten\s | vacuum\b | analyze\b | do\s+\$
        | lock\s+table\s | call\s+\w+\( | declare\s+\w+\s.*cursor | create_replication_slot\s | drop_replication_slot\s
    )""",
    re.X | re.S | re.I,
)


def badly_named(file: File) -> list[str]:
    """Statements whose name is not verb_noun with a verb of the list."""
    return [
        f"{file.path}: `{name}` is not verb_noun with a verb of {', '.join(sorted(VERBS))}"
        for name in _NAME.findall(file.text)
        if not (good := _GOOD_NAME.match(name.split("(")[0])) or good[1] not in VERBS
    ]


def shouted(file: File) -> list[str]:
    """Words of SQL that are not in lower case, outside comments, literals and quoted names."""
    return [f"{file.path}:{line}: `{word}` in lower case" for line, word in _words(file.text, _SHOUTED)]


def poor_types(file: File) -> list[str]:
    """Columns of type varchar, timestamp or serial."""
    return [
        f"{file.path}:{line}: {better} instead of {word}"
        for pattern, better in _TYPES.items()
        for line, word in _words(file.text, re.compile(pattern))
    ]


def sql_in_python(file: File) -> list[str]:
    """String literals that are SQL statements; docstrings are none."""
    return [
        f"{file.path}:{node.lineno}: SQL in Python; give it a name in a .sql file: {_text(node).strip()[:50]!r}"
        for node in _literals(file.tree)
        if _STATEMENT.match(_text(node))
    ]


def _words(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    code = _QUOTED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return ((code.count("\n", 0, found.start()) + 1, found[0]) for found in pattern.finditer(code))


def _literals(tree: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            yield node
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield from _literals(node)


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)
