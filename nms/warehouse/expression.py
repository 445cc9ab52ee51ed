"""The language of the parameter `filter`: `userId eq 1 and (title like "a%" or not id in (1, 2))` (pure).

A condition is a field, an operator and a value. Texts, dates and UUIDs stand in quotes, single ones doubled or double
ones with backslashes; numbers, true and false stand bare. `not` binds closest, then `and`, then `or`.
"""

import re
from dataclasses import dataclass
from typing import Final

from nms.warehouse.filter import OPERATORS, All, Conditions, Either, Fault, Literal, Name, Node, Not, unescaped

LONGEST: Final = 8_000
DEEPEST: Final = 20
"""How many parentheses and `not`s stand in each other."""
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[-+]?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?(?![\w.]))
    |(?P<word>[A-Za-z_][A-Za-z0-9_-]*)
    |(?P<member>\.(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"))
    |(?P<double>"(?:[^"\\]|\\.)*")
    |(?P<single>'(?:[^']|'')*')
    |(?P<sign>[(),])""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS: Final = frozenset(("and", "or", "not"))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(conditions: Conditions, text: str) -> Node:
    """The conditions of an expression; raises Fault with the character where it cannot be understood."""
    if len(text) > LONGEST:
        raise Fault(f"at most {LONGEST} characters are taken", LONGEST)
    return _Parser(conditions, text).parse()


class _Parser:
    """One expression; the next token is looked at, then taken."""

    def __init__(self, conditions: Conditions, text: str) -> None:
        self._conditions = conditions
        self._tokens = _tokenise(text)
        self._next = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._either()
        left = self._peek()
        if left.kind != "end":
            raise Fault(f"`and`, `or` or the end is expected, not {_shown(left)}", left.at)
        return node

    def _either(self) -> Node:
        parts = [self._all()]
        while self._take_word("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _all(self) -> Node:
        parts = [self._factor()]
        while self._take_word("and"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _factor(self) -> Node:
        token = self._peek()
        if not (token.text == "(" or self._is_word("not")):
            return self._condition()
        self._next += 1
        self._depth += 1
        if self._depth > DEEPEST:
            raise Fault(f"parentheses and `not` stand in each other at most {DEEPEST} deep", token.at)
        if token.text == "not":
            node: Node = Not(self._factor())
        else:
            node = self._either()
            self._expect(")")
        self._depth -= 1
        return node

    def _condition(self) -> Node:
        name = self._name()
        negated = self._take_word("not")
        token = self._peek()
        if token.kind != "word" or token.text not in OPERATORS:
            raise Fault(f"one of {', '.join(OPERATORS)} is expected, not {_shown(token)}", token.at)
        self._next += 1
        if token.text == "is":
            negated = self._take_word("not") or negated
            state = self._take()
            node = self._conditions.state(name, state.text, state.at)
        elif token.text == "in":
            node = self._conditions.compare(name, "in", self._list())
        else:
            node = self._conditions.compare(name, token.text, [self._literal()])
        return Not(node) if negated else node

    def _name(self) -> Name:
        token = self._take()
        if token.kind == "double":
            field = unescaped(token.text, token.at + 1)
        elif token.kind == "word" and token.text not in _KEYWORDS:
            field = token.text
        else:
            raise Fault(f"a field is expected, not {_shown(token)}", token.at)
        path = []
        while (step := self._peek()).kind == "member":
            self._next += 1
            path.append(unescaped(step.text[1:], step.at + 2) if step.text[1] == '"' else step.text[1:])
        return Name(field, tuple(path), token.at)

    def _list(self) -> list[Literal]:
        self._expect("(")
        literals = [self._literal()]
        while self._peek().text == ",":
            self._next += 1
            literals.append(self._literal())
        self._expect(")")
        return literals

    def _literal(self) -> Literal:
        token = self._take()
        if token.kind == "number":
            return Literal(token.text, "number", token.at)
        if token.kind == "double":
            return Literal(unescaped(token.text, token.at + 1), "text", token.at)
        if token.kind == "single":
            return Literal(token.text[1:-1].replace("''", "'"), "text", token.at)
        if token.text in ("true", "false"):
            return Literal(token.text, "word", token.at)
        if token.text == "null":
            raise Fault("nothing equals null: write `is null` or `is not null`", token.at)
        raise Fault(f"a value is expected, not {_shown(token)}; texts stand in quotes", token.at)

    def _expect(self, sign: str) -> None:
        token = self._take()
        if token.text != sign:
            raise Fault(f"`{sign}` is expected, not {_shown(token)}", token.at)

    def _take_word(self, word: str) -> bool:
        found = self._is_word(word)
        self._next += found
        return found

    def _is_word(self, word: str) -> bool:
        token = self._peek()
        return token.kind == "word" and token.text == word

    def _take(self) -> _Token:
        token = self._peek()
        self._next += token.kind != "end"
        return token

    def _peek(self) -> _Token:
        return self._tokens[self._next]


def _tokenise(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            told = "this quote does not end" if text[at] in "\"'" else f"`{text[at]}` cannot stand here"
            raise Fault(told, at)
        kind = str(found.lastgroup)
        if kind != "space":
            tokens.append(_Token(kind, found[0], at))
        at = found.end()
    return [*tokens, _Token("end", "", len(text))]


def _shown(token: _Token) -> str:
    if token.kind == "end":
        return "the end"
    return f"`{token.text}`" if len(token.text) <= 40 else f"`{token.text[:40]}...`"
