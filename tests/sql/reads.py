"""Which columns the code reads of a statement's rows, followed from the call to where the row becomes values.

A row is followed through names, loops, comprehensions, `dict(row)` and functions it is handed to. It ends well where
columns are read by name (`row["id"]`) or where it becomes an object (`Run(**row)`, `Run.of(row)`,
`Pipeline.model_validate(dict(row))`), whose fields are compared. Where it leaves the sight of this file, that is
told as a fault.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from nms.common.db.queries import Statement
from tests.sql.calls import Call, calls_of, parse
from tests.sql.fields import children_of, fields_of, ignores_more, texts_of

Columns = dict[tuple[Path, str], list[str]]
"""The columns of each statement, by its file and name."""
HARMLESS = {"len", "bool", "any", "all", "print", "isinstance"}
SAME = {"dict", "list", "tuple", "iter", "sorted", "reversed", "next"}
DEPTH = 6


@dataclasses.dataclass(frozen=True)
class Row:
    """A value that is a row, or rows, of a statement; `without` are columns that were popped, `more` added ones."""

    of: Statement
    many: bool
    without: frozenset[str] = frozenset()
    more: frozenset[str] = frozenset()

    @property
    def statement(self) -> str:
        """The name of the statement."""
        return self.of.name


class Reader:
    """Follows rows through one function; `faults` are sentences."""

    def __init__(self, module: ModuleType, columns: Columns, place: str, depth: int = 0) -> None:
        self.module = module
        self.columns = columns
        self.place = place
        self.depth = depth
        self.names: dict[str, Row] = {}
        self.texts: dict[str, list[str]] = {}
        self.faults: list[str] = []
        self.calls: dict[ast.Call, Call] = {}
        self.owner: Any = None

    def fault(self, node: ast.AST, sentence: str) -> None:
        self.faults.append(f"{self.place}:{getattr(node, 'lineno', '?')}: {sentence}")

    # --- statements -------------------------------------------------------------------------------------------------

    def follow(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._follow_one(statement)

    def _follow_one(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.follow(node.body)
            case ast.Assign(targets=[target], value=value):
                self._assign(target, value)
            case ast.AugAssign(target=ast.Name(id=name), value=ast.Dict() | ast.DictComp()) if name in self.names:
                self.value(node.value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                self._bind(name, self.value(value))
            case ast.For(target=target, iter=rows) | ast.AsyncFor(target=target, iter=rows):
                self._loop(target, rows)
                self.follow(node.body + node.orelse)
            case ast.Expr(value=value):
                self.value(value)
            case ast.If(test=test) | ast.While(test=test):
                self.value(test)
                self.follow(node.body + node.orelse)
            case ast.Return(value=value):
                self._lose(value, "is returned")
            case _:
                self._follow_other(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, self.value(value))
                self.texts[name] = texts_of(value)
            case ast.Tuple(elts=targets) if isinstance(value, ast.Tuple) and len(value.elts) == len(targets):
                for one, its_value in zip(targets, value.elts, strict=True):
                    self._assign(one, its_value)
            case ast.Subscript(value=ast.Name(id=name), slice=key) if (held := self.names.get(name)) and not held.many:
                self.value(value)
                if isinstance(key, ast.Constant):
                    held = self.names[name]
                    self.names[name] = dataclasses.replace(held, more=held.more | {str(key.value)})
            case ast.Subscript(value=ast.Name(id=name), slice=key) if row := self.value(value):
                self.value(key)
                self._bind(name, dataclasses.replace(row, many=True))
            case _:
                self._lose(value, "leaves the sight of this check")

    def _follow_other(self, node: ast.stmt) -> None:
        for _, part in ast.iter_fields(node):
            for item in part if isinstance(part, list) else [part]:
                if isinstance(item, ast.stmt):
                    self._follow_one(item)
                elif isinstance(item, ast.ExceptHandler | ast.match_case):
                    self.follow(item.body)
                elif isinstance(item, ast.withitem):
                    self._lose(item.context_expr, "is entered")
                elif isinstance(item, ast.expr):
                    self._lose(item, "leaves the sight of this check")

    def columns_of(self, row: Row) -> set[str]:
        """The columns a row has where it is looked at."""
        return (set(self.columns[row.of.path, row.statement]) | row.more) - row.without

    def _bind(self, name: str, value: Row | None) -> None:
        if value is None:
            self.names.pop(name, None)
        else:
            self.names[name] = value

    def _loop(self, target: ast.expr, rows: ast.expr) -> None:
        value = self.value(rows)
        if isinstance(target, ast.Name):
            self.texts[target.id] = self.texts.get(rows.id, []) if isinstance(rows, ast.Name) else texts_of(rows)
        if value is None:
            return
        if not value.many:
            self.fault(rows, "a row is looped over")
        elif isinstance(target, ast.Name):
            self._bind(target.id, dataclasses.replace(value, many=False))
        else:
            self.fault(target, "a row is unpacked by position; name its columns")

    # --- expressions ------------------------------------------------------------------------------------------------

    def value(self, node: ast.expr | None) -> Row | None:
        """The row that an expression gives, if it does; what it reads on the way is compared."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Await(value=inner) | ast.Starred(value=inner):
                return self.value(inner)
            case ast.NamedExpr(target=ast.Name(id=name), value=inner):
                self._bind(name, self.value(inner))
                return self.names.get(name)
            case ast.Call():
                return self._call(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node)
        return None if node is None else self._choice(node)

    def _choice(self, node: ast.expr) -> Row | None:
        """Conditions look at a row and choose one; whatever else takes a row loses it."""
        match node:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.value(test)
                return self.value(body) or self.value(orelse)
            case ast.BoolOp(values=values):
                return next((row for row in [self.value(item) for item in values] if row), None)
            case ast.Compare(left=left, comparators=others):
                for item in [left, *others]:
                    self.value(item)
            case ast.UnaryOp(operand=operand):
                self.value(operand)
            case _:
                for child in children_of(node):
                    self._lose(child, "is put into something else")
        return None

    def _lose(self, node: ast.expr | None, how: str) -> None:
        row = self.value(node)
        if row is not None and node is not None:
            self.fault(node, f"a row of {row.statement} {how}; make it an object or read its columns by name")

    def _read(self, node: ast.AST, row: Row, column: str) -> None:
        if column not in self.columns_of(row):
            self.fault(node, f"{row.statement} has no column {column!r}")

    def _subscript(self, node: ast.Subscript) -> Row | None:
        row = self.value(node.value)
        self.value(node.slice)
        if row is None:
            return None
        if row.many:
            return row if isinstance(node.slice, ast.Slice) else dataclasses.replace(row, many=False)
        match node.slice:
            case ast.Constant(value=str(column)):
                self._read(node, row, column)
            case ast.Name(id=name) if self.texts.get(name):
                for column in self.texts[name]:
                    self._read(node, row, column)
            case ast.Attribute(attr="name") if self.owner is not None:
                self._fill(node, self.owner, row, exactly=False)
            case _:
                self.fault(node, f"a column of {row.statement} is read by something else than its name")
        return None

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Row | None:
        before = dict(self.names)
        for part in node.generators:
            self._loop(part.target, part.iter)
            for test in part.ifs:
                self.value(test)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        rows = [row for row in map(self.value, results) if row is not None]
        self.names = before
        if rows and isinstance(node, ast.DictComp):
            self.fault(node, f"rows of {rows[0].statement} are put into a dict")
        return dataclasses.replace(rows[0], many=True) if rows and not isinstance(node, ast.DictComp) else None

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Row | None:
        if node in self.calls:
            for keyword in node.keywords:
                self._lose(keyword.value, "is an argument of a statement")
            statement = self.calls[node].statement
            has_rows = statement.runs in ("fetch", "fetchrow") and (statement.path, statement.name) in self.columns
            return Row(statement, statement.runs == "fetch") if has_rows else None
        if isinstance(node.func, ast.Attribute) and (row := self.value(node.func.value)) is not None:
            return self._method(node, node.func, row)
        if isinstance(node.func, ast.Name) and node.func.id in SAME | HARMLESS and node.args:
            row = self.value(node.args[0])
            if node.func.id in HARMLESS or row is None:
                return None
            return dataclasses.replace(row, many=False) if node.func.id == "next" else row
        return self._hand_over(node)

    def _method(self, node: ast.Call, function: ast.Attribute, row: Row) -> Row | None:
        match function.attr, node.args:
            case (("get" | "pop"), [ast.Constant(value=str(column)), *_]) if not row.many:
                self._read(node, row, column)
                if function.attr == "pop" and isinstance(function.value, ast.Name):
                    self.names[function.value.id] = dataclasses.replace(row, without=row.without | {column})
            case (("items" | "keys" | "values"), _):
                self.fault(node, f"the columns of {row.statement} are used without their names")
            case _:
                self.fault(node, f"a row of {row.statement} is asked for .{function.attr}")
        return None

    def _hand_over(self, node: ast.Call) -> Row | None:
        called = self._resolve(node.func)
        spread = [row for item in node.keywords if item.arg is None and (row := self._spread(item.value))]
        if spread:
            beside = {item.arg for item in node.keywords if item.arg}
            more = frozenset[str]().union(*map(self.columns_of, spread[1:]))
            whole = dataclasses.replace(spread[0], more=spread[0].more | more)
            self._fill(node, called, whole, exactly=True, beside=beside)
        for keyword in node.keywords:
            if keyword.arg is not None and (row := self.value(keyword.value)) is not None:
                self._enter(node, called, keyword.arg, row)
        for place, argument in enumerate(node.args):
            row = self._spread(argument)
            if row is not None:
                self._hand_one(node, called, place, row)
        return None

    def _hand_one(self, node: ast.Call, called: Any, place: int, row: Row) -> None:
        if getattr(called, "__name__", "") == "model_validate" and not row.many:
            self._fill(node, called.__self__, row, exactly=False)
        elif inspect.isclass(called) or called is None or not hasattr(called, "__code__"):
            self._lose_in(node, row)
        else:
            self._enter(node, called, place, row)

    def _lose_in(self, node: ast.Call, row: Row) -> None:
        self.fault(node, f"a row of {row.statement} is handed to {ast.unparse(node.func)}, which cannot be followed")

    def _spread(self, node: ast.expr) -> Row | None:
        """The row of `**row`, `**dict(row)` or `{**row, "more": 1}`."""
        if isinstance(node, ast.Dict) and None in node.keys:
            row = next((self.value(v) for k, v in zip(node.keys, node.values, strict=True) if k is None), None)
            if row is not None:
                added = {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
                return dataclasses.replace(row, more=row.more | added)
        return self.value(node)

    def _resolve(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id="cls") if self.owner is not None:
                return self.owner
            case ast.Name(id=name):
                return getattr(self.module, name, None)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=attr) if self.owner is not None:
                return getattr(self.owner, attr, None)
            case ast.Attribute(value=value, attr=attr):
                return getattr(self._resolve(value), attr, None)
        return None

    def _enter(self, node: ast.Call, called: Any, place: int | str, row: Row) -> None:
        """Follow the row into the function it is handed to."""
        bound = inspect.ismethod(called)
        function = inspect.unwrap(called.__func__ if bound else called) if called is not None else None
        if not inspect.isfunction(function) or not function.__module__.startswith(("nms", "planted")):
            return self._lose_in(node, row)
        if self.depth >= DEPTH:
            return self.fault(node, f"a row of {row.statement} is handed on too far")
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
        names = [item.arg for item in [*tree.args.posonlyargs, *tree.args.args]]
        shift = 1 if bound or names[:1] == ["self"] else 0
        inner = Reader(inspect.getmodule(function) or self.module, self.columns, self.place, self.depth + 1)
        inner.place = f"{self.place}:{node.lineno} -> {function.__qualname__}"
        inner.owner = called.__self__ if bound and inspect.isclass(called.__self__) else self.owner
        inner.names[place if isinstance(place, str) else names[place + shift]] = row
        inner.follow(tree.body)
        self.faults += inner.faults
        return None

    def _fill(self, node: ast.AST, kind: Any, row: Row, *, exactly: bool, beside: set[str] | None = None) -> None:
        """Compare the fields of what a row becomes with its columns."""
        fields = fields_of(kind)
        if fields is None:
            return self.fault(node, f"a row of {row.statement} becomes something whose fields are not known")
        given = self.columns_of(row)
        beside = beside or set()
        missing = {name for name, required in fields.items() if required} - given - beside
        extra = given - set(fields) if exactly and not ignores_more(kind) else set()
        for name in sorted(missing):
            self.fault(node, f"{row.statement} has no column {name!r}, which {kind.__name__} needs")
        for name in sorted(extra):
            self.fault(node, f"{row.statement} has a column {name!r}, which {kind.__name__} does not take")
        for name in sorted(given & beside - row.more):
            self.fault(node, f"{row.statement} has a column {name!r}, which is given twice")
        return None


def wrong_reads(module: ModuleType, columns: Columns) -> list[str]:
    """What a module reads of its statements' rows that is not there, as sentences."""
    calls = {(call.call.lineno, call.call.col_offset): call for call in calls_of(module) if call.call is not None}
    if not calls:
        return []
    faults: list[str] = []
    for function, owner in _functions(parse(module), module):
        reader = Reader(module, columns, module.__name__)
        reader.owner = owner
        reader.calls = {
            node: calls[node.lineno, node.col_offset]
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and (node.lineno, node.col_offset) in calls
        }
        if reader.calls:
            reader.follow(function.body)
            faults += reader.faults
    return faults


def _functions(tree: ast.AST, owner: Any) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, Any]]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, owner if inspect.isclass(owner) else None
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, getattr(owner, child.name, None))
        else:
            yield from _functions(child, owner)
