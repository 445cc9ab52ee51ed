"""PostgreSQL's lexical structure: text to tokens, without losing a character (manual, chapter 4.1)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a token is; PARAMETER is the only one that PostgreSQL does not know: our `:name`."""

    SPACE = "space"
    COMMENT = "comment"
    STRING = "string"
    QUOTED = "quoted"
    WORD = "word"
    NUMBER = "number"
    PARAMETER = "parameter"
    NUMBERED = "numbered"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
    """One token with its place in the text (`start` counts characters from 0)."""

    kind: Kind
    text: str
    start: int


class UnreadableSql(ValueError):
    """A literal, quoted name or comment is never closed; `start` is where it opens."""

    def __init__(self, what: str, start: int) -> None:
        super().__init__(f"This {what} is never closed.")
        self.start = start


_START = r"[A-Za-z_\u0080-\U0010ffff]"
_CONTINUED = r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:\s|--[^\n\r]*[\n\r])*"
_ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
_GRAMMAR = re.compile(
    rf"""
    (?P<space>\s+)
  | (?P<comment>--[^\n\r]*)
  | (?P<nested>/\*)
  | (?P<escaped>[eE]{_ESCAPED}(?:{_CONTINUED}{_ESCAPED})*)
  | (?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")*")
  | (?P<open_string>(?:[eEbBxXnN]|[uU]&)?')
  | (?P<open_quoted>(?:[uU]&)?")
  | (?P<dollar>\$(?:{_START}\w*)?\$)
  | (?P<numbered>\$\d+)
  | (?P<number>(?:\d[\d_]*(?:\.(?!\.)[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
  | (?P<word>{_START}[\w$]*)
  | (?P<symbol>::|:=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS = {kind.value: kind for kind in Kind}
_PARAMETER = re.compile(rf":({_START}\w*)")
_NESTED = re.compile(r"/\*|\*/")
_BEFORE_A_VALUE = frozenset(
    "all and any array as between by case cast collate distinct else end from having ilike in is like limit not null "
    "offset on or over returning row select set similar some then to union using values when where".split()
)


def tokenise(text: str) -> Iterator[Token]:
    """Yield the tokens of `text`; joined they are the text again.

    `:name` is a parameter, but not as the upper bound of a slice: in `a[1:n]` the colon follows a value.
    Raises UnreadableSql.
    """
    place = 0
    brackets: list[str] = []
    last: Token | None = None
    while place < len(text):
        token = _read(text, place)
        if token.text == ":" and not (brackets and brackets[-1] == "[" and _is_value(last)):
            token = _read_parameter(text, token)
        yield token
        place += len(token.text)
        if token.kind is Kind.SYMBOL:
            _follow(brackets, token.text)
        if token.kind not in (Kind.SPACE, Kind.COMMENT):
            last = token


def _read(text: str, place: int) -> Token:
    found = _GRAMMAR.match(text, place)
    assert found is not None and found.lastgroup is not None, "the last branch takes any character"
    group = found.lastgroup
    match group:
        case "nested":
            return Token(Kind.COMMENT, text[place : _end_of_comment(text, place)], place)
        case "dollar":
            end = text.find(found[0], found.end())
            if end < 0:
                raise UnreadableSql("dollar-quoted string", place)
            return Token(Kind.STRING, text[place : end + len(found[0])], place)
        case "open_string" | "open_quoted":
            raise UnreadableSql("string" if group == "open_string" else "quoted name", place)
        case "escaped":
            return Token(Kind.STRING, found[0], place)
    return Token(_KINDS[group], found[0], place)


def _end_of_comment(text: str, start: int) -> int:
    depth = 0
    for mark in _NESTED.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise UnreadableSql("comment", start)


def _read_parameter(text: str, colon: Token) -> Token:
    found = _PARAMETER.match(text, colon.start)
    return colon if found is None else Token(Kind.PARAMETER, found[0], colon.start)


def _is_value(token: Token | None) -> bool:
    """Whether an expression may end here, so that a colon after it divides a slice."""
    if token is None or token.kind is Kind.SYMBOL:
        return token is not None and token.text in ")]"
    return token.kind is not Kind.WORD or token.text.lower() not in _BEFORE_A_VALUE


def _follow(brackets: list[str], symbol: str) -> None:
    if symbol in "([":
        brackets.append(symbol)
    elif symbol in ")]" and brackets:
        brackets.pop()


def split_statements(text: str) -> Iterator[list[Token]]:
    """Yield the tokens of each statement of a text, as `divide_tokens` does."""
    return divide_tokens(tokenise(text))


def divide_tokens(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each statement, without its semicolon; pieces with nothing but space are left out.

    Semicolons inside parentheses (rules) and inside `begin atomic ... end` bodies divide nothing, as in psql.
    """
    piece: list[Token] = []
    words: list[str] = []
    brackets: list[str] = []
    blocks = 0
    for token in tokens:
        if token.text == ";" and not brackets and blocks == 0:
            yield from _filled(piece)
            piece, words = [], []
            continue
        piece.append(token)
        if token.kind is Kind.SYMBOL:
            _follow(brackets, token.text)
        elif token.kind is Kind.WORD:
            words = [*words, token.text.lower()][:4]
            blocks = _count_blocks(blocks, words, token.text.lower())
    yield from _filled(piece)


def _filled(piece: list[Token]) -> Iterator[list[Token]]:
    if any(token.kind not in (Kind.SPACE, Kind.COMMENT) for token in piece):
        yield piece


def _count_blocks(blocks: int, first_words: list[str], word: str) -> int:
    makes_routine = first_words[:1] == ["create"] and bool({"function", "procedure"} & set(first_words))
    if not makes_routine:
        return 0
    if word == "begin" or (word == "case" and blocks):
        return blocks + 1
    return blocks - 1 if word == "end" and blocks else blocks


def line_of(text: str, start: int) -> int:
    """The line (from 1) in which character `start` stands."""
    return text.count("\n", 0, start) + 1
