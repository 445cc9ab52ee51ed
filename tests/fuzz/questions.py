"""Questions to a list of the warehouse, as a caller writes them, and what a plain model answers."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from nms.warehouse.filter import OPERATORS

Record = Mapping[str, Any]
Holds = Callable[[Record], bool]
FIELDS: Final = {
    "id": "bigint", "n": "integer", "t": "text", "x": "numeric", "d": "double", "b": "boolean", "day": "date",
    "at": "timestamp", "u": "uuid", "meta": "json", "not": "smallint",
}  # fmt: skip
INDEXED: Final = ("id", "n", "t")
UUIDS: Final = ["00000000-0000-0000-0000-000000000000", "3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10"]
VALUES: Final[Mapping[str, Sequence[str]]] = {
    "id": ["-9", "0", "3", "9223372036854775807"],
    "n": ["-2147483648", "-1", "0", "1", "5", "2147483647"],
    "t": [
        "",
        "a",
        "A",
        "ab",
        "a%b",
        "a_b",
        "a\\b",
        "é",
        "É",
        "Z",
        "null",
        "x,y",
        'q"q',
        "it's",
        "5",
        "𝄞",
        "eq.a",
        "\n",
    ],
    "x": ["0", "0.10", "0.1", "-1.5", "1e3", "12345678901234567890.5"],
    "d": ["0", "-0.0", "0.1", "1e300", "-1.5", "5e-324"],
    "b": ["true", "false"],
    "day": ["2026-01-01", "2026-12-31", "0001-01-01"],
    "at": ["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.000001+00:00", "1999-12-31T23:59:59+05:30"],
    "u": UUIDS,
    "not": ["-1", "7"],
}
DOCUMENTS: Final = (
    '{"a":1}', '{"a":1.0}', '{"a":"1"}', '{"a":null}', '{"a":true}', '{"a":{"b.c":"x","eq":2,"not":"A"}}', '[1,"x"]',
    "5", '"5"', '"x"', '{"a":[10,20]}', "{}", '"null"', "null", '{"a":"true"}', '{"a":{"b.c":3e2}}',
)  # fmt: skip
PATHS: Final = ((), ("a",), ("a", "b.c"), ("a", "eq"), ("a", "not"), ("0",), ("1",), ("a", "1"), ("a", "-1"))
PATTERNS: Final = ("%", "a%", "%b", "_", "a\\%b", "a\\_b", "A_B", "%é%", "", "a\\\\b", "x%")
NUMBERS: Final = ("1", "1.00", "5", "-1", "300", "10")
TEXTS: Final = ("1", "x", "5", "", "true", "null", "A")


@dataclass(frozen=True)
class Leaf:
    """One comparison, in both spellings, and whether a record meets it."""

    field: str
    path: tuple[str, ...]
    operator: str
    text: str
    expression: str
    holds: Holds

    @property
    def parameter(self) -> tuple[str, str]:
        """As a parameter of its own."""
        steps = [self.field, *(_step(one) for one in self.path)]
        plain = self.operator == "eq" and len(self.text) % 2
        return ".".join(steps if plain else [*steps, self.operator]), self.text


def parse(field: str, text: str | None) -> Any:
    """The value of a field by its text."""
    read: dict[str, Callable[[str], Any]] = {
        "bigint": int, "integer": int, "smallint": int, "text": str, "numeric": Decimal, "double": float,
        "boolean": lambda told: told == "true", "date": date.fromisoformat, "timestamp": datetime.fromisoformat,
        "uuid": UUID, "json": partial(json.loads, parse_int=Decimal, parse_float=Decimal),
    }  # fmt: skip
    return None if text is None else read[FIELDS[field]](text)


def find(document: Any, path: Sequence[str]) -> Any:
    """The member of a JSON document, None where there is none."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step)
        elif (
            isinstance(document, list)
            and re.fullmatch("-?[0-9]+", step)
            and -len(document) <= int(step) < len(document)
        ):
            document = document[int(step)]
        else:
            return None
    return document


def like(text: Any, pattern: str, *, folds: bool) -> bool:
    """SQL's like."""
    parts = re.findall(r"\\(.)|(%)|(_)|(.)", pattern, re.DOTALL)
    regex = "".join(
        ".*" if many else "." if one else re.escape(escaped or plain) for escaped, many, one, plain in parts
    )
    if not isinstance(text, str):
        return False
    return re.fullmatch(regex.lower() if folds else regex, text.lower() if folds else text, re.DOTALL) is not None


def same(one: Any, other: Any) -> bool:
    """Equality of JSON, to which true is no number."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": lambda one, other: one > other,
    "gte": lambda one, other: one >= other,
    "lt": lambda one, other: one < other,
    "lte": lambda one, other: one <= other,
}


def _step(step: str) -> str:
    return json.dumps(step, ensure_ascii=False) if "." in step or step in (*OPERATORS, "not") else step


def _name(field: str, path: Sequence[str]) -> str:
    return ".".join([f'"{field}"' if field == "not" else field, *(_step(one) for one in path)])


def _quoted(text: str) -> str:
    if len(text) % 2:
        return "'" + text.replace("'", "''") + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(field: str, text: str) -> str:
    bare = FIELDS[field] in ("bigint", "integer", "smallint", "numeric", "double", "boolean")
    return text if bare else _quoted(text)


def _item(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if "," in text or text[:1] == '"' else text


@st.composite
def plain_leaves(draw: st.DrawFn) -> Leaf:
    field = draw(st.sampled_from([name for name in FIELDS if name != "meta"]))
    operators = ["eq", "neq", "in", "is", *ORDERS, *(["like", "ilike"] if field == "t" else [])]
    operator = draw(st.sampled_from(operators))
    name = _name(field, ())
    if operator == "is":
        state = draw(st.sampled_from(["null", "true", "false"] if field == "b" else ["null"]))
        wanted = {"null": None, "true": True, "false": False}[state]
        return Leaf(field, (), "is", state, f"{name} is {state}", lambda record: record[field] is wanted)
    if operator in ("like", "ilike"):
        pattern = draw(st.sampled_from(PATTERNS))
        folds = operator == "ilike"
        return Leaf(
            field, (), operator, pattern, f"{name} {operator} {_quoted(pattern)}",
            lambda record: like(record[field], pattern, folds=folds),
        )  # fmt: skip
    if operator == "in":
        texts = draw(st.lists(st.sampled_from(VALUES[field]), min_size=1, max_size=4))
        values = [parse(field, text) for text in texts]
        told = ", ".join(_literal(field, text) for text in texts)
        return Leaf(
            field, (), "in", ",".join(map(_item, texts)), f"{name} in ({told})",
            lambda record: record[field] is not None and record[field] in values,
        )  # fmt: skip
    text = draw(st.sampled_from(VALUES[field]))
    holds = partial(_compares, field, operator, parse(field, text))
    return Leaf(field, (), operator, text, f"{name} {operator} {_literal(field, text)}", holds)


def _compares(field: str, operator: str, wanted: Any, record: Record) -> bool:
    value = record[field]
    if operator == "neq":
        return value is None or bool(value != wanted)
    if value is None:
        return False
    return bool(value == wanted) if operator == "eq" else ORDERS[operator](value, wanted)


@st.composite
def json_leaves(draw: st.DrawFn) -> tuple[Leaf, bool]:
    """A comparison with a member of JSON, and whether it is for a parameter: bare texts mean more there."""
    path = draw(st.sampled_from(PATHS))
    name, operator = _name("meta", path), draw(st.sampled_from(["eq", "neq", "in", "is", "like", *ORDERS]))
    bare = draw(st.booleans())
    if operator == "is":
        state = draw(st.sampled_from(["null", "true", "false"]))
        wanted = json.loads(state)
        holds = lambda record: find(record["meta"], path) is wanted  # noqa: E731
        return Leaf("meta", path, "is", state, f"{name} is {state}", holds), bare
    if operator == "like":
        pattern = draw(st.sampled_from(PATTERNS))
        holds = lambda record: like(find(record["meta"], path), pattern, folds=False)  # noqa: E731
        return Leaf("meta", path, "like", pattern, f"{name} like {_quoted(pattern)}", holds), bare
    texts = draw(st.lists(st.sampled_from((*TEXTS, *NUMBERS)), min_size=1, max_size=3 if operator == "in" else 1))
    kinds = [draw(st.sampled_from(["number", "text"])) if text in NUMBERS else "text" for text in texts]
    literals = [text if kind == "number" else _quoted(text) for text, kind in zip(texts, kinds, strict=True)]
    holds = partial(_compares_json, path, operator, [_meant(*one, bare=bare) for one in zip(texts, kinds, strict=True)])
    told = f"({', '.join(literals)})" if operator == "in" else literals[0]
    text = ",".join(map(_item, texts)) if operator == "in" else texts[0]
    return Leaf("meta", path, operator, text, f"{name} {operator} {told}", holds), bare


def _meant(text: str, kind: str, *, bare: bool) -> list[Any]:
    if not bare:
        return [Decimal(text) if kind == "number" else text]
    values: list[Any] = [Decimal(text)] if text in NUMBERS else []
    if text == "true":
        values.append(True)
    return [*values, text]


def _compares_json(path: tuple[str, ...], operator: str, meant: list[list[Any]], record: Record) -> bool:
    value = find(record["meta"], path)
    if operator in ("eq", "in", "neq"):
        found = any(same(value, one) for values in meant for one in values)
        return found != (operator == "neq")
    wanted = next((one for one in meant[0] if not isinstance(one, bool)), None)
    if isinstance(value, bool) or isinstance(wanted, str) != isinstance(value, str):
        return False
    return isinstance(value, str | Decimal) and ORDERS[operator](value, wanted)


@dataclass(frozen=True)
class Part:
    """A part of an expression, and whether a record meets it."""

    text: str
    holds: Holds


def _negated(part: Part) -> Part:
    return Part(f"not ({part.text})", lambda record: not part.holds(record))


def _joined(parts: list[Part], word: str) -> Part:
    every = all if word == "and" else any
    return Part(
        f" {word} ".join(f"({one.text})" for one in parts), lambda record: every(one.holds(record) for one in parts)
    )


parts = st.recursive(
    (plain_leaves() | json_leaves().filter(lambda one: not one[1]).map(lambda one: one[0])).map(
        lambda leaf: Part(leaf.expression, leaf.holds)
    ),
    lambda inner: (
        inner.map(_negated)
        | st.builds(_joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "or"]))
    ),
    max_leaves=6,
)
parameters = plain_leaves() | json_leaves().filter(lambda one: one[1]).map(lambda one: one[0])
sorts = st.lists(st.sampled_from(INDEXED), max_size=3, unique=True).flatmap(
    lambda names: st.tuples(
        *(st.booleans().map(partial(lambda name, down: ("-" if down else "") + name, name)) for name in names)
    )
)
