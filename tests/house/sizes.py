"""How long files and functions are, and how many parameters they take.

What counts: a file's lines, all of them; a function's lines from `def` to its end without its docstring, nested
functions included; a function's parameters, keyword-only ones too, `*args` and `**kwargs` as one each, without `self`
and `cls`. Fields of a dataclass or pydantic model are a record, not parameters. Commands (`@command`, typer) and
endpoints (FastAPI) are exempt from the last rule only: their parameters are the interface that users see.
"""

import ast
from collections.abc import Iterator

from tests.house.tree import File

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 40, 5
ENDPOINTS = {
    "get",
    "post",
    "put",
    "patch",
    "delete",
    "head",
    "options",
    "api_route",
    "websocket",
    "command",
    "callback",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """All functions of a file, methods and nested ones included."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def long_file(file: File) -> list[str]:
    """The file when it is longer than 400 lines."""
    lines = file.text.count("\n") + (not file.text.endswith("\n"))
    return [f"{file.path}: {lines} lines, at most {FILE_LINES}"] if lines > FILE_LINES else []


def long_functions(file: File) -> list[str]:
    """Functions longer than 40 lines."""
    return [
        f"{file.path}:{function.lineno}: {function.name} has {lines} lines, at most {FUNCTION_LINES}"
        for function in functions(file.tree)
        if (lines := _lines(function)) > FUNCTION_LINES
    ]


def wide_functions(file: File) -> list[str]:
    """Functions with more than 5 parameters that are neither commands nor endpoints."""
    return [
        f"{file.path}:{function.lineno}: {function.name} takes {count} parameters, at most {PARAMETERS}"
        for function in functions(file.tree)
        if (count := _parameters(function)) > PARAMETERS and not is_interface(file, function)
    ]


def is_interface(file: File, function: Function) -> bool:
    """Whether a typer command or a FastAPI endpoint is declared here, by its decorator and its place."""
    if not file.path.startswith(("nms/cli/", "bench/", "tests/")) and "fastapi" not in file.text:
        return False
    names = (node.func if isinstance(node, ast.Call) else node for node in function.decorator_list)
    return any(
        (isinstance(name, ast.Attribute) and name.attr in ENDPOINTS)
        or (isinstance(name, ast.Name) and name.id.startswith("command"))
        for name in names
    )


def _lines(function: Function) -> int:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def _parameters(function: Function) -> int:
    given = function.args
    names = [argument.arg for argument in [*given.posonlyargs, *given.args]]
    own = names[:1] if names[:1] in (["self"], ["cls"]) else []
    return len(names) - len(own) + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)
