"""Whatever a name or a value holds, it stays a name or a value."""

import re

from hypothesis import given
from hypothesis import strategies as st

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.connectors.postgres import statements
from nms.connectors.postgres.statements import TargetTable

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
IDENTIFIER = re.compile(r'"(?:[^"]|"")*"')
LITERAL = re.compile(r"'(?:[^']|'')*'")
ESCAPED = re.compile(r" E'(?:[^'\\]|''|\\\\)*'")


@given(texts)
def test_an_identifier_is_one_token_that_reads_back(name: str) -> None:
    quoted = quote_identifier(name)
    assert IDENTIFIER.fullmatch(quoted)
    assert quoted[1:-1].replace('""', '"') == name


@given(texts)
def test_a_literal_is_one_token_that_reads_back(value: str) -> None:
    quoted = quote_literal(value)
    assert (ESCAPED if "\\" in value else LITERAL).fullmatch(quoted)
    inner = quoted.removeprefix(" E")[1:-1].replace("''", "'")
    assert (inner.replace("\\\\", "\\") if "\\" in value else inner) == value


@given(st.lists(texts.filter(bool), min_size=2, max_size=4, unique=True))
def test_names_stand_in_every_statement_quoted(names: list[str]) -> None:
    table = TargetTable(statements.quote_table("s", "t"), tuple(names), ("text",) * len(names), (0,), False, "stage")
    for sql in (
        statements.insert_row(table), statements.insert_new(table), statements.update_row(table, [1]),
        statements.delete_row(table), statements.create_stage(table), statements.copy_stage(table, with_op=True),
        statements.delete_staged(table), statements.insert_staged(table), statements.update_staged(table, 2, [1]),
        statements.sweep_range(table, ("x",), None), statements.select_rows(table, ("x",), ("y",), only=True),
    ):  # fmt: skip
        left = LITERAL.sub("", IDENTIFIER.sub("", sql))
        assert '"' not in left
        assert "'" not in left


def test_a_table_of_key_columns_only_is_inserted_once() -> None:
    table = TargetTable('"t"', ("a", "b"), ("int", "int"), (0, 1), False, "stage")
    assert statements.insert_row(table).endswith('on conflict ("a", "b") do nothing')


def test_a_range_is_open_where_it_has_no_bound() -> None:
    table = TargetTable('"t"', ("a", "b"), ("int", "text"), (0, 1), False, "stage")
    assert "where" not in statements.select_rows(table, None, None, only=False)
    both = statements.select_rows(table, ("1", "x"), ("2", "y"), only=True)
    assert """("a", "b") > ('1'::int, 'x'::text) and ("a", "b") <= ('2'::int, 'y'::text)""" in both
