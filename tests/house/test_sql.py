"""SQL is read where SQL stands: in named, lower-case statements of `.sql` files."""

import pytest

from tests.house.sql import badly_named, poor_types, shouted, sql_in_python
from tests.house.tree import File, files, paths, python, refuse

STATEMENTS = files("nms", suffix=".sql")
# `schema.sql` is written by PostgreSQL from the migrations.
MIGRATIONS = tuple(file for file in files("db", suffix=".sql") if "/migrations/" in file.path)
# Where SQL is composed or comes before any `.sql` file can be loaded, and why. Nowhere else.
COMPOSED: dict[str, str] = {
    "nms/connectors/postgres/statements.py": "identifiers of users' tables, after look-up in the catalog",
    "nms/connectors/postgres/conditions.py": "filters and constants of mappings, after look-up in the catalog",
    "nms/connectors/postgres/compare/statements.py": "the same for comparing, which would make that file too long",
    "nms/connectors/postgres/compare/check.py": "the SQL that mends a finding: printed, never run by us",
    "nms/connectors/postgres/pages/statements.py": "the same, for pages of JSON records",
    "nms/connectors/postgres/poll/statements.py": "the same, for what a poll asks",
    "nms/connectors/postgres/digests.py": "comparing whole tables, identifiers from the catalog",
    "nms/connectors/postgres/twoway/statements.py": "the same, for what a two-way pipeline asks",
    "nms/connectors/postgres/alterations.py": "statements that follow a changed table, identifiers from the catalog",
    "nms/connectors/postgres/pairing.py": "the SQL that mends a finding: printed for the operator, never run by us",
    "nms/connectors/postgres/findings.py": "the SQL that mends a finding: printed for the operator, never run by us",
    "nms/warehouse/statement.py": "lists and records of entities: names of fields of served documents, quoted",
    "nms/warehouse/table.py": "the tables of entities: names of fields of validated documents, quoted",
    "nms/warehouse/alteration.py": "what makes another table of it, in the same way",
    "nms/warehouse/write.py": "records written: the same names",
    "nms/warehouse/change.py": "the feed of all entities: the same names",
    "nms/common/db/embedded.py": "makes the login and the databases of the embedded server, before ours exist",
    "nms/common/db/migrations.py": "makes aiosqlembic's history table as aiosqlembic does, before any revision ran",
    "nms/common/db/revisions.py": "the text of a new revision's file",
}


def test_statements_are_named_verb_noun() -> None:
    refuse(fault for file in STATEMENTS for fault in badly_named(file))


def test_sql_is_lower_case() -> None:
    refuse(fault for file in STATEMENTS + MIGRATIONS for fault in shouted(file))


def test_text_is_text_and_a_time_has_its_zone() -> None:
    refuse(fault for file in STATEMENTS + MIGRATIONS for fault in poor_types(file))


def test_python_holds_no_sql() -> None:
    refuse(fault for file in files("nms") if file.path not in COMPOSED for fault in sql_in_python(file))


def test_every_exception_is_still_one() -> None:
    assert set(COMPOSED) <= set(paths())
    assert all(sql_in_python(file) for file in files("nms") if file.path in COMPOSED)


@pytest.mark.parametrize("name", ["runs", "fetch_runs(a)", "getRuns", "get_Runs^", "claim(worker)"])
def test_a_statement_that_is_not_verb_noun_is_seen(name: str) -> None:
    assert badly_named(File("planted.sql", f"-- name: {name}\nselect 1;"))


@pytest.mark.parametrize("name", ["claim_runs(worker, size)", "get_run(id)^", "count_runs$", "delete_old_runs(age)!"])
def test_verb_noun_is_fine(name: str) -> None:
    assert not badly_named(File("planted.sql", f"-- name: {name}\nselect 1;"))


@pytest.mark.parametrize(
    "text", ["SELECT 1", "select Id from t", "create function f() as $$ BEGIN end $$", "select NULL"]
)
def test_a_shouted_word_is_seen(text: str) -> None:
    assert shouted(File("planted.sql", text))


@pytest.mark.parametrize("text", ["select 'It''s OK'", "-- Why\nselect 1", 'select "Name"', "/* A\nB */ select e'\\X'"])
def test_capitals_in_comments_literals_and_quoted_names_are_fine(text: str) -> None:
    assert not shouted(File("planted.sql", text))


@pytest.mark.parametrize("column", ["a varchar(20)", "a timestamp not null", "a bigserial", "a char(2)"])
def test_a_poor_type_is_seen(column: str) -> None:
    assert poor_types(File("planted.sql", f"create table t ({column})"))


def test_rich_types_and_words_in_comments_are_fine() -> None:
    assert not poor_types(
        File("planted.sql", "-- no varchar\ncreate table t (a text, b timestamptz, c timestamp with time zone)")
    )


@pytest.mark.parametrize(
    "literal",
    [
        "'select 1'",
        "'  INSERT INTO t VALUES (1)'",
        "f'update {table} set a = 1'",
        "f'delete from {quote(table)} where true'",
        "'''\n-- why\nwith a as (select 1) select * from a'''",
        "'create temporary table t (a int)'",
        "f'copy {table} ({columns}) from stdin'",
        "f'truncate {table}'",
        "'alter system set wal_level = logical'",
        "'notify runs'",
    ],
)
def test_sql_in_python_is_seen(literal: str) -> None:
    assert sql_in_python(python(f"def f():\n    return run({literal})"))


@pytest.mark.parametrize(
    "literal",
    [
        "'select'",
        "'insert'",
        "'copy: rows are brought over first'",
        "'Drop the row'",
        "'begin'",
        "'update the pipeline'",
        "'with a'",
    ],
)
def test_words_and_sentences_are_no_sql(literal: str) -> None:
    assert not sql_in_python(python(f"x = {literal}"))


def test_a_docstring_may_speak_of_sql() -> None:
    assert not sql_in_python(python('def f():\n    """select one of them."""\n'))
