"""Who calls which statement: every `queries.name(...)` of a module, read from its source and its live namespace."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from nms.common.db.queries import Queries, Statement


@dataclass(frozen=True)
class Call:
    """One place that uses a statement; `call` is None where it is not called on the spot."""

    module: ModuleType
    statement: Statement
    function: ast.AsyncFunctionDef | ast.FunctionDef | None
    call: ast.Call | None
    line: int

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.module.__name__}:{self.line}"


def modules_of(package: str) -> list[ModuleType]:
    """The modules of a package in whose text the word `queries` stands; the others call no statement."""
    root = Path(str(importlib.import_module(package).__file__)).parent
    sources = sorted(path for path in root.rglob("*.py") if "queries" in path.read_text(encoding="utf-8"))
    names = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in sources]
    return [importlib.import_module(name.removesuffix(".__init__")) for name in names]


def loaded_by(modules: list[ModuleType]) -> dict[Path, Queries]:
    """Every folder of statements that a module has loaded."""
    folders = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Queries):
                folders[next(iter(value.statements())).path.parent] = value
    return folders


def parse(module: ModuleType) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def calls_of(module: ModuleType) -> Iterator[Call]:
    """Every use of a statement in a module."""
    names = {name: value for name, value in vars(module).items() if isinstance(value, Queries)}
    if names:
        yield from _find(module, names, parse(module), None)


def _find(
    module: ModuleType,
    names: dict[str, Queries],
    node: ast.AST,
    function: ast.AsyncFunctionDef | ast.FunctionDef | None,
) -> Iterator[Call]:
    called = set()
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, ast.AsyncFunctionDef | ast.FunctionDef) else function
        if isinstance(child, ast.Call) and (statement := statement_of(names, child.func)):
            called.add(child)
            yield Call(module, statement, function, child, child.lineno)
            for part in [*child.args, *child.keywords]:
                yield from _find(module, names, ast.Expression(part), inner)  # type: ignore[arg-type]
        elif (statement := statement_of(names, child)) is not None:
            yield Call(module, statement, function, None, child.lineno)  # type: ignore[attr-defined]
        else:
            yield from _find(module, names, child, inner)


def statement_of(names: dict[str, Queries], node: ast.AST) -> Statement | None:
    """The statement that `queries.name` stands for; raises AttributeError when there is none of that name."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
        if node.attr in ("statements",):
            return None
        found: Statement = getattr(names[node.value.id], node.attr)
        return found
    return None


def wrong_arguments(call: Call) -> list[str]:
    """What is wrong with the arguments of a call, as sentences."""
    if call.call is None:
        return [f"{call.place}: call {call.statement.name} on the spot, so that its arguments can be compared"]
    given = [keyword.arg for keyword in call.call.keywords]
    if None in given:
        return [f"{call.place}: name the arguments of {call.statement.name}; `**` cannot be compared"]
    if len(call.call.args) != 1:
        return [f"{call.place}: {call.statement.name} takes one connection and names for the rest"]
    if sorted(map(str, given)) != sorted(call.statement.parameters):
        wanted = ", ".join(call.statement.parameters)
        return [f"{call.place}: {call.statement.name} takes ({wanted}), not ({', '.join(map(str, given))})"]
    return []
