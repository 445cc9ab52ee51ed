"""What objects take and what literals say."""

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel


def fields_of(kind: Any) -> dict[str, bool] | None:
    """The fields of a dataclass, model, or the keywords of a function: name and whether it is required."""
    if dataclasses.is_dataclass(kind):
        return {
            item.name: item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            for item in dataclasses.fields(kind)
            if item.init
        }
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return {item.alias or name: item.is_required() for name, item in kind.model_fields.items()}
    if inspect.isfunction(kind) or inspect.isclass(kind):
        parameters = inspect.signature(kind).parameters.values()
        return {item.name: item.default is inspect.Parameter.empty for item in parameters}
    return None


def ignores_more(kind: Any) -> bool:
    """Whether an object takes fields that it does not know."""
    return inspect.isclass(kind) and issubclass(kind, BaseModel) and kind.model_config.get("extra") != "forbid"


def texts_of(node: ast.expr) -> list[str]:
    """The texts of a literal list of texts, else none."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
    return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def children_of(node: ast.AST) -> Iterator[ast.expr]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
        elif isinstance(child, ast.FormattedValue | ast.keyword):
            yield child.value
