"""Conditions on records, as a request states them: their shape apart from their values (pure).

A field that has no value equals nothing and is neither less nor greater; `not` and `neq` are exactly the opposite.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from nms.warehouse import value
from nms.warehouse.entities import Served

OPERATORS: Final = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "is", "like", "ilike")
MOST_CONDITIONS: Final = 100
MOST_VALUES: Final = 1_000
STATES: Final = ("null", "true", "false")
"""What a field can be said to be with `is`."""
_ORDERS: Final = ("gt", "gte", "lt", "lte")
_STEP: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^."]+')


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; `at` is the index of its first value, `state` what `is` asks for.

    `compared` is the type that it compares: that of the field, or of a member of its JSON (`json`, `number`, `text`),
    which a path leads to: the value before the compared one.
    """

    field: str
    operator: str
    compared: str
    at: int
    path: bool = False
    state: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """What holds where its part does not."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class All:
    """What holds where all its parts do."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """What holds where one of its parts does."""

    parts: tuple["Node", ...]


Node: TypeAlias = Condition | Not | All | Either
Value: TypeAlias = str | list[str]


class Fault(ValueError):
    """A part of a request cannot be understood; `at` is the character of the text where, None for the whole."""

    def __init__(self, detail: str, at: int | None = None) -> None:
        super().__init__(detail)
        self.detail, self.at = detail, at


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as it was written: `kind` is `number`, `word` (true, false) or `text` in an expression, else `any`."""

    text: str
    kind: str = "any"
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Name:
    """A field and the way into its JSON, as it was written."""

    field: str
    path: tuple[str, ...] = ()
    at: int | None = None


class Conditions:
    """Makes conditions on the fields of one entity, and collects their values."""

    def __init__(self, entity: Served) -> None:
        self._entity = entity
        self._count = 0
        self.values: list[Value] = []

    def compare(self, name: Name, operator: str, literals: Sequence[Literal]) -> Node:
        """A condition of any operator but `is`; raises Fault."""
        kind = self._kind_of(name)
        if len(literals) > MOST_VALUES:
            raise Fault(f"at most {MOST_VALUES} values are taken at once", literals[MOST_VALUES].at)
        if operator == "neq":
            return Not(self.compare(name, "eq", literals))
        if kind == "json":
            return self._compare_json(name, operator, literals)
        if operator in ("like", "ilike"):
            if kind != "text":
                raise Fault(f"`{operator}` is for texts, and `{name.field}` is {kind}", name.at)
            return self._add(name, operator, "text", _spelled(literals[0], value.spell_pattern))
        spelled = [self._spell(kind, name, literal) for literal in literals]
        return self._add(name, operator, kind, spelled if operator == "in" else spelled[0])

    def state(self, name: Name, state: str, at: int | None = None) -> Node:
        """A condition that asks what a field is; raises Fault."""
        kind = self._kind_of(name)
        if state not in STATES:
            raise Fault("a field is `null`, `true` or `false`; compare it with `eq` otherwise", at)
        if state != "null" and kind not in ("boolean", "json"):
            raise Fault(f"`{name.field}` is {kind}, neither true nor false", at)
        return self._add(name, "is", kind, None, state)

    def _kind_of(self, name: Name) -> str:
        field = self._entity.fields.get(name.field)
        if field is None:
            raise Fault(f"`{name.field}` is no field of `{self._entity.name}`", name.at)
        if name.path and field.type != "json":
            raise Fault(f"`{name.field}` is {field.type}: only a field of type json has members", name.at)
        self._count += 1
        if self._count > MOST_CONDITIONS:
            raise Fault(f"at most {MOST_CONDITIONS} conditions are taken at once", name.at)
        return field.type

    def _compare_json(self, name: Name, operator: str, literals: Sequence[Literal]) -> Node:
        if operator in ("eq", "in"):
            return self._add(name, operator, "json", [spelled for one in literals for spelled in _meanings(one)])
        literal = literals[0]
        if operator in ("like", "ilike"):
            return self._add(name, operator, "text", _spelled(literal, value.spell_pattern))
        if literal.kind == "word":
            raise Fault("`true` and `false` have no order", literal.at)
        if literal.kind != "text" and value.is_json_number(literal.text):
            return self._add(name, operator, "number", literal.text)
        return self._add(name, operator, "text", _spelled(literal, value.spell_text))

    def _spell(self, kind: str, name: Name, literal: Literal) -> str:
        if literal.kind == "number" and kind in ("text", "date", "timestamp", "time", "uuid"):
            raise Fault(f"`{name.field}` is {kind}: put the value in quotes", literal.at)
        if literal.kind == "word" and kind != "boolean":
            raise Fault(f"`{name.field}` is {kind}, neither true nor false", literal.at)
        try:
            return value.spell(kind, literal.text)
        except ValueError as error:
            raise Fault(f"`{name.field}` is {kind}: {error}", literal.at) from None

    def _add(self, name: Name, operator: str, compared: str, spelled: Value | None, state: str = "") -> Condition:
        at = len(self.values)
        if name.path:
            try:
                self.values.append([value.spell_text(step) for step in name.path])
            except ValueError as error:
                raise Fault(str(error), name.at) from None
        if spelled is not None:
            self.values.append(spelled)
        return Condition(name.field, operator, compared, at, bool(name.path), state)


def read_parameter(conditions: Conditions, name: str, text: str) -> Node:
    """The condition of a parameter: `field`, `field.operator` or `field.not.operator`; raises Fault.

    In the name of a field of type json its members may stand between, in double quotes where they hold a dot or are
    named like an operator.
    """
    steps = _steps(name)
    operator, negated = "eq", False
    if len(steps) > 1 and steps[-1] in OPERATORS:
        operator = steps.pop()
        if len(steps) > 1 and steps[-1] == "not":
            steps.pop()
            negated = True
    named = Name(steps[0], tuple(_unquoted(step) for step in steps[1:]))
    node = _read_condition(conditions, named, operator, text)
    return Not(node) if negated else node


def _read_condition(conditions: Conditions, name: Name, operator: str, text: str) -> Node:
    if operator == "is":
        return conditions.state(name, text)
    if operator == "in":
        return conditions.compare(name, operator, _items(text))
    return conditions.compare(name, operator, [Literal(text)])


def _steps(name: str) -> list[str]:
    """The parts between the dots of a name; those in quotes keep them."""
    steps: list[str] = []
    at = 0
    while True:
        found = _STEP.match(name, at)
        if found is None:
            raise Fault("a name reads `field`, `field.operator` or `field.member.operator`", at)
        steps.append(found[0])
        at = found.end()
        if at == len(name):
            return steps
        if name[at] != ".":
            raise Fault("a dot stands between the parts of a name", at)
        at += 1


def _unquoted(step: str) -> str:
    return unescaped(step, 0) if step.startswith('"') else step


def unescaped(quoted: str, at: int) -> str:
    """The text in double quotes, in which a backslash stands before a quote or another one; raises Fault."""
    inner = quoted[1:-1]
    wrong = re.search(r'(?<!\\)(?:\\\\)*\\(?=[^"\\])', inner)
    if wrong is not None:
        raise Fault('in quotes a backslash stands before `"` or `\\` only', at + wrong.end())
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL)


def _items(text: str) -> list[Literal]:
    """The values of a list, between commas; one that holds a comma stands in double quotes."""
    items: list[Literal] = []
    at = 0
    while True:
        quoted = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL).match(text, at)
        if quoted is not None:
            items.append(Literal(unescaped(quoted[0], at), "quoted", at))
            at = quoted.end()
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            items.append(Literal(text[at:end], "any", at))
            at = end
        if at == len(text):
            return items
        if text[at] != ",":
            raise Fault("a comma stands between values; one that holds a quote stands in quotes itself", at)
        at += 1


def _meanings(literal: Literal) -> list[str]:
    """The JSON values that a value stands for: what is written in quotes is a text, a bare `5` a number or a text."""
    texts = [] if literal.kind in ("number", "word") else [_spelled(literal, value.json_of_text)]
    bare = None if literal.kind in ("text", "quoted") else value.spell_json(literal.text)
    return texts if bare is None else [bare, *texts]


def _spelled(literal: Literal, spell: "value.Spell") -> str:
    try:
        return spell(literal.text)
    except ValueError as error:
        raise Fault(str(error), literal.at) from None
