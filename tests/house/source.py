"""What stands in a Python file: imports on top, no names without meaning, nothing unfinished, no fault swallowed."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from tests.house.sizes import Function
from tests.house.tree import File

BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "core", "misc", "common_utils"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
SILENCED = re.compile(r"#\s*type:\s*ignore\b")
# What closes goes on closing, whatever one part says; anywhere else the error that is harmless has a name.
CLOSING = re.compile(r"_*(close|stop|leave|release|discard|end)(_|$)")
SKIPPED = {"skip", "skipif", "xfail", "importorskip", "skipTest", "skipIf", "skipUnless", "expectedFailure"}
LAZY_CALLS = {"import_module", "__import__"}


def banned_names(path: str) -> list[str]:
    """Folders and modules whose name says nothing."""
    parts = PurePosixPath(path).with_suffix("").parts
    return [f"{path}: `{part}` says nothing; name it by what it is" for part in parts if part in BANNED_NAMES]


def late_imports(file: File) -> set[str]:
    """Modules imported inside a function, or by `import_module`; `*` where only the running program knows the name."""
    found: set[str] = set()
    for function in (node for node in ast.walk(file.tree) if isinstance(node, Function)):
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or ".")
    for call in _calls(file.tree):
        if _name(call.func) in LAZY_CALLS:
            named = call.args[0] if call.args else None
            found.add(str(named.value) if isinstance(named, ast.Constant) else "*")
    return found


def undeclared_imports(file: File, declared: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Late imports that the list (path -> module -> reason) does not hold, and untrue entries of it."""
    late, known = late_imports(file), set(declared.get(file.path, {}))
    return [f"{file.path}: `{name}` is imported inside a function" for name in sorted(late - known)] + [
        f"{file.path}: `{name}` is listed as a late import and is none" for name in sorted(known - late)
    ]


def unfinished(file: File) -> list[str]:
    """Marks of unfinished work, silenced types, and NotImplementedError."""
    faults = []
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type == tokenize.COMMENT:
            faults += [f"{file.path}:{token.start[0]}: {mark}" for mark in _marks(token.string)]
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            faults.append(f"{file.path}:{node.lineno}: NotImplementedError; leave the method out or make it a protocol")
    return faults


def swallowed(file: File) -> list[str]:
    """Bare `except`, `except ...: pass`, and `suppress` of everything."""
    faults = []
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            faults.append(f"{file.path}:{node.lineno}: bare except")
        if isinstance(node, ast.ExceptHandler) and all(_is_nothing(statement) for statement in node.body):
            faults.append(
                f"{file.path}:{node.lineno}: except that does nothing; `suppress` the one error that is harmless"
            )
    for name, call in _calls_by_function(file.tree):
        everything = _name(call.func) == "suppress" and {_name(given) for given in call.args} & {
            "Exception",
            "BaseException",
        }
        if everything and not CLOSING.match(name):
            faults.append(f"{file.path}:{call.lineno}: suppresses everything")
    return faults


def sleeps(file: File) -> dict[str, int]:
    """Functions (their names) that call `sleep` with anything but zero, which only yields; and the line."""
    return {
        name: call.lineno
        for name, call in _calls_by_function(file.tree)
        if _name(call.func) == "sleep" and not (len(call.args) == 1 and _is_zero(call.args[0]))
    }


def undeclared_sleeps(file: File, declared: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Sleeps that the list (path -> function -> reason) does not hold, and entries of it that are no longer true."""
    found, known = sleeps(file), set(declared.get(file.path, {}))
    return [
        f"{file.path}:{line}: {name} sleeps; wait for a state or an event with a deadline"
        for name, line in found.items()
        if name not in known
    ] + [f"{file.path}: {name} is listed as sleeping and does not" for name in sorted(known - set(found))]


def skips(file: File) -> list[str]:
    """Tests that are skipped or expected to fail."""
    return [
        f"{file.path}:{node.lineno}: {node.attr}; nothing is skipped"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Attribute) and node.attr in SKIPPED and _root(node) in {"pytest", "unittest", "self"}
    ]


def _marks(comment: str) -> Iterator[str]:
    if SILENCED.search(comment):
        yield "a silenced type"
    yield from UNFINISHED.findall(comment)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _calls_by_function(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield function, node
        yield from _calls_by_function(node, node.name if isinstance(node, Function) else function)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return _name(node)


def _is_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and statement.value.value is ...
    )


def _is_zero(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0
