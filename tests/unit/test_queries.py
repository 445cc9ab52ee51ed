"""Statements are what their `.sql` file says, and take exactly their parameters."""

import subprocess
import sys
from keyword import iskeyword
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.db.queries import Queries, Statement, StatementRefused, load, load_file, load_folder

NAME = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not iskeyword(name))


def read(folder: Path, text: str, name: str = "x.sql") -> list[Statement]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_file(path)


def test_literals_comments_casts_and_slices_reach_the_server_as_written(tmp_path: Path) -> None:
    (statement,) = read(
        tmp_path,
        "-- name: get_thing(id, upper)^\n-- Why: it is ':not' one.\n"
        "select a[1:n], b[1:2], ':x', E'\\':y', $q$ :z $q$, /* :c */ :upper::int -- :d\nfrom t where id = :id",
    )
    assert statement.sql == "select a[1:n], b[1:2], ':x', E'\\':y', $q$ :z $q$,   $1::int \nfrom t where id = $2"
    assert statement.parameters == ("upper", "id")
    assert (statement.name, statement.runs) == ("get_thing", "fetchrow")
    assert statement.comment.startswith("Why: it is ':not' one.")


def test_a_name_line_inside_a_string_starts_no_statement(tmp_path: Path) -> None:
    (statement,) = read(tmp_path, "-- name: get_text()$\nselect '\n-- name: get_other()\n', $$\n-- name: up#\n$$;\n")
    assert statement.name == "get_text"
    assert "-- name: get_other()" in statement.sql


def test_a_parameter_used_twice_is_sent_once(tmp_path: Path) -> None:
    (statement,) = read(tmp_path, "-- name: get_a(x, y)^\nselect :x, :y, :x + 1, :y")
    assert statement.sql == "select $1, $2, $1 + 1, $2"
    assert statement.parameters == ("x", "y")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-- name: get_a(x)\nselect 1", "x.sql:1: unused declared parameter"),
        ("-- name: get_a()\nselect :x", "x.sql:1: undeclared parameter"),
        ("-- name: get_a\nselect 1", "x.sql:1: missing mandatory parameter list"),
        ("\n-- name: get a()\nselect 1", "x.sql:2: invalid query name"),
        ("-- name: get_a()\nselect 1; select 2", "one statement must follow a name, not 2"),
        ("-- name: get_a()\n-- nothing", "one statement must follow a name, not 0"),
        ("-- name: make_a()#\nselect 1", "the suffixes are"),
        ("-- name: insert_a(x)<!\ninsert into a values (:x) returning x", "the suffixes are"),
        ("-- name: insert_a(x)*!\ninsert into a values (:x)", "the suffixes are"),
        ("-- name: get_a()\nselect $1", r"write :name, not \$1"),
        ("select 1;\n-- name: get_a()\nselect 1", "x.sql:1: this stands before"),
        ("-- name: get_a()\nselect\n'open", "x.sql:3: This string is never closed"),
        ("-- name: get_a()\nselect 1 /* open", "x.sql:2: This comment is never closed"),
    ],
)
def test_a_file_that_says_something_else_than_it_declares_is_refused_with_its_line(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(StatementRefused, match=why):
        read(tmp_path, text)


def test_two_statements_of_one_name_are_refused(tmp_path: Path) -> None:
    read(tmp_path, "-- name: get_a()\nselect 1", "a.sql")
    read(tmp_path, "-- name: get_a()\nselect 2", "b.sql")
    with pytest.raises(StatementRefused, match=r"b\.sql:1: get_a has the name of a statement in a\.sql:1"):
        load_folder(tmp_path)


def test_an_unknown_statement_is_an_attribute_error(tmp_path: Path) -> None:
    queries = Queries(read(tmp_path, "-- name: get_a()\nselect 1"))
    assert [statement.name for statement in queries.statements()] == ["get_a"]
    with pytest.raises(AttributeError, match="no statement is named 'get_b'"):
        queries.get_b  # noqa: B018


@given(names=st.lists(NAME, min_size=1, max_size=8), literal=st.text(alphabet="ab:'; \n-", max_size=20))
def test_rewriting_numbers_parameters_in_the_order_of_their_first_use(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], literal: str
) -> None:
    quoted = "'" + literal.replace("'", "''") + "'"
    declared = ", ".join(dict.fromkeys(names))
    body = "select " + ", ".join(f"{quoted}, :{name}" for name in names)
    (statement,) = read(tmp_path_factory.mktemp("sql"), f"-- name: get_a({declared})\n{body}")
    order = list(dict.fromkeys(names))
    assert statement.parameters == tuple(order)
    assert statement.sql == "select " + ", ".join(f"{quoted}, ${order.index(name) + 1}" for name in names)


def test_loading_statements_opens_no_connection() -> None:
    """Rooms load their statements when they are imported, before any database is there."""
    code = "import socket; socket.socket.connect = None\nimport nms.common.db.migrations"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_folder_is_read_once_in_a_process() -> None:
    """Seven modules name that of nms.common: each reading was a fortieth part of a role's start."""
    assert load("nms.common") is load("nms.common")
