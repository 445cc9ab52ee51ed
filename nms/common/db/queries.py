"""Named statements from `.sql` files: aiosql reads the names, our adapter rewrites parameters and runs them.

aiosql's own splitter and its asyncpg adapter see colons and `-- name:` lines inside literals, slices and comments;
here the text is tokenised first, and aiosql gets only the lines that it is to read (format of aiosql 15).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
from aiosql import SQLParseException
from aiosql.adapters.generic import GenericAdapter
from aiosql.query_loader import QueryLoader
from aiosql.types import QueryDatum, SQLOperationType, SyncDriverAdapterProtocol

from nms.common.db.lexer import Kind, Token, UnreadableSql, divide_tokens, line_of, tokenise
from nms.common.db.problems import DRIVER_ERRORS, instead_of

_NAME = re.compile(r"--\s*name\s*:\s*(?P<header>.*)")
_RUNNERS = {
    SQLOperationType.SELECT: "fetch",
    SQLOperationType.SELECT_ONE: "fetchrow",
    SQLOperationType.SELECT_VALUE: "fetchval",
    SQLOperationType.INSERT_UPDATE_DELETE: "execute",
}
_VERBATIM: Callable[[], SyncDriverAdapterProtocol] = GenericAdapter
_COUNTING = re.compile(r"(\d+)$")


class StatementRefused(ValueError):
    """A `.sql` file cannot be loaded; the sentence starts with file and line."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement; call it with a pool or connection and its parameters by name.

    `sql` has `$n` in the order of `parameters`; `runs` is what a call gives: "fetch" a list of records,
    "fetchrow" one or None, "fetchval" the first value or None, "execute" the number of rows.
    """

    name: str
    sql: str
    parameters: tuple[str, ...]
    runs: str
    comment: str
    path: Path
    line: int
    translates: bool = True

    async def __call__(self, connection: Any, /, **arguments: Any) -> Any:
        """Run it; raises TypeError for a wrong set of arguments, Problems for what the database says.

        Statements that were loaded with `translates=False` raise what asyncpg raised.
        """
        try:
            values = [arguments[name] for name in self.parameters]
        except KeyError:
            raise self._refuse(arguments) from None
        if len(arguments) != len(values):
            raise self._refuse(arguments)
        try:
            answer = await getattr(connection, self.runs)(self.sql, *values)
        except DRIVER_ERRORS as error:
            if not self.translates:
                raise
            raise instead_of(error) from error
        return _count(answer) if self.runs == "execute" else answer

    def _refuse(self, arguments: dict[str, Any]) -> TypeError:
        return TypeError(f"{self.name} takes ({', '.join(self.parameters)}), not ({', '.join(arguments)})")


def _count(tag: str) -> int:
    found = _COUNTING.search(tag)
    return int(found[1]) if found else 0


class Queries:
    """The statements of one folder as attributes."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        self._statements: dict[str, Statement] = {}
        for statement in statements:
            earlier = self._statements.setdefault(statement.name, statement)
            if earlier is not statement:
                where = f"{earlier.path.name}:{earlier.line}"
                raise StatementRefused(
                    f"{statement.path}:{statement.line}: {statement.name} has the name of a statement in {where}"
                )

    def __getattr__(self, name: str) -> Statement:
        statements: dict[str, Statement] = self.__dict__.get("_statements", {})
        if name not in statements:
            raise AttributeError(f"no statement is named {name!r}")
        return statements[name]

    def statements(self) -> Iterator[Statement]:
        """Every statement, by name."""
        return iter(sorted(self._statements.values(), key=lambda statement: statement.name))


@cache
def load(package: str, folder: str = "queries", *, translates: bool = True) -> Queries:
    """Load every `.sql` file of `package`/`folder`, once per process; raises StatementRefused with file and line.

    Connectors speak to systems that are not ours and translate errors themselves: `translates=False`.
    """
    return load_folder(Path(str(files(package))) / folder, translates=translates)


def load_folder(folder: Path, *, translates: bool = True) -> Queries:
    """Load every `.sql` file of a folder; raises StatementRefused."""
    paths = sorted(folder.glob("*.sql"))
    if not paths:
        raise StatementRefused(f"{folder}: there is no .sql file here")
    statements = [statement for path in paths for statement in load_file(path)]
    return Queries([replace(statement, translates=translates) for statement in statements])


def load_file(path: Path) -> list[Statement]:
    """Load one `.sql` file; raises StatementRefused."""
    text = path.read_text(encoding="utf-8")
    loader = QueryLoader(_VERBATIM(), None, attribute=None, mandatory_parameters=True)
    try:
        return [_build(loader, text, piece, path) for piece in _split(text, path)]
    except UnreadableSql as error:
        raise StatementRefused(f"{path}:{line_of(text, error.start)}: {error}") from None


def _split(text: str, path: Path) -> Iterator[list[Token]]:
    """Yield the tokens of each named piece, beginning with its `-- name:` comment."""
    piece: list[Token] = []
    for token in tokenise(text):
        if token.kind is Kind.COMMENT and _NAME.match(token.text):
            if piece:
                yield piece
            piece = [token]
        elif piece:
            piece.append(token)
        elif token.kind not in (Kind.SPACE, Kind.COMMENT):
            raise StatementRefused(f"{path}:{line_of(text, token.start)}: this stands before the first `-- name:`")
    if piece:
        yield piece


def _build(loader: QueryLoader, text: str, piece: list[Token], path: Path) -> Statement:
    place = f"{path}:{(line := line_of(text, piece[0].start))}"
    statements = list(divide_tokens(piece[1:]))
    if len(statements) != 1:
        raise StatementRefused(f"{place}: one statement must follow a name, not {len(statements)}")
    sql, used = _rewrite(statements[0], place)
    datum = _read_header(loader, piece[0].text, _comments(piece[1:]), used, place)
    if datum.operation_type not in _RUNNERS:
        raise StatementRefused(f"{place}: the suffixes are none, ^, $ and !; many rows go through unnest")
    return Statement(
        name=datum.query_name,
        sql=sql,
        parameters=tuple(used),
        runs=_RUNNERS[datum.operation_type],
        comment=datum.doc_comments,
        path=path,
        line=line,
    )


def _comments(tokens: list[Token]) -> list[str]:
    return [token.text for token in tokens if token.kind is Kind.COMMENT and token.text.startswith("--")]


def _read_header(loader: QueryLoader, header: str, comments: list[str], used: list[str], place: str) -> QueryDatum:
    """Let aiosql read name, declared parameters and suffix, and compare the declared with the used ones."""
    uses = "select " + ", ".join(f":{name}" for name in used)
    safe = "\n".join([header, *(line for line in comments if line.strip("- ")), uses])
    try:
        return loader.load_query_data_from_sql(safe, [])[0]
    except SQLParseException as error:
        raise StatementRefused(f"{place}: {error}") from None


def _rewrite(tokens: list[Token], place: str) -> tuple[str, list[str]]:
    """The text with `$n` for each `:name`, without comments at its ends, and the names in the order of n."""
    names: list[str] = []
    parts: list[str] = []
    for token in tokens:
        match token.kind:
            case Kind.NUMBERED:
                raise StatementRefused(f"{place}: write :name, not {token.text}")
            case Kind.PARAMETER:
                name = token.text[1:]
                if name not in names:
                    names.append(name)
                parts.append(f"${names.index(name) + 1}")
            case Kind.COMMENT:
                parts.append(" " if token.text.startswith("/*") else "")
            case _:
                parts.append(token.text)
    return "".join(parts).strip(), names


async def describe(connection: "asyncpg.Connection[asyncpg.Record]", statement: Statement) -> list[str]:
    """Prepare a statement and return the names of its columns; raises what the server says, and ValueError
    when the server counts other parameters than we do."""
    prepared = await connection.prepare(statement.sql)
    count = len(prepared.get_parameters())
    if count != len(statement.parameters):
        raise ValueError(f"{statement.name}: the server sees {count} parameters, not {len(statement.parameters)}")
    return [attribute.name for attribute in prepared.get_attributes()]
