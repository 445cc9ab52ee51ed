"""One word, one meaning: names use the words of DESIGN 1 and not their synonyms."""

import ast
import re

from tests.house.sizes import Function
from tests.house.tree import File

# Synonym -> the word we use.
SYNONYMS = {
    "job": "run", "jobs": "runs", "sink": "target", "sinks": "targets", "destination": "target", "dlq": "quarantine",
    "webhookendpoint": "endpoint", "watermark": "low or high", "lsnposition": "position", "tenant": "system",
    "integration": "pipeline", "integrations": "pipelines",
}  # fmt: skip
# What the program is for, and no run.
MAIN_JOB = re.compile(r"\bmain job\b", re.I)
_PARTS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def synonyms_in_names(file: File) -> list[str]:
    """Modules, classes, functions and parameters named by a synonym."""
    stem = file.path.rpartition("/")[2].removesuffix(".py")
    names = [(1, stem)]
    for node in ast.walk(file.tree):
        if isinstance(node, Function | ast.ClassDef):
            names.append((node.lineno, node.name))
        if isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
    return [f"{file.path}:{line}: {name}: say {SYNONYMS[part]}" for line, name in names for part in _synonyms(name)]


def synonyms_in_text(file: File) -> list[str]:
    """Lines of SQL or documentation that use a synonym as a word."""
    return [
        f"{file.path}:{number}: say {SYNONYMS[part]} for {part}"
        for number, line in enumerate(file.text.splitlines(), 1)
        for part in _synonyms(MAIN_JOB.sub("", line))
    ]


def _synonyms(text: str) -> list[str]:
    return [part for part in (found.lower() for found in _PARTS.findall(text)) if part in SYNONYMS]
