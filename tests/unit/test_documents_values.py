"""Names, tables, addresses, sizes and references: what documents are made of."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from nms.common.document import Table, parse_address
from nms.common.document.values import check_identifier, check_name, parse_size, render_size

identifiers = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=15)


@given(identifiers, identifiers)
def test_a_table_reads_back_from_its_text(schema: str, name: str) -> None:
    table = Table(schema, name)
    assert Table.parse(str(table)) == table


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("public.subscription", Table("public", "subscription")),
        ('"My Schema"."Table"', Table("My Schema", "Table")),
        ('public."a.b"', Table("public", "a.b")),
        ('"say ""hi""".t', Table('say "hi"', "t")),
        ('"public"."t"', Table("public", "t")),
    ],
)
def test_quoted_and_plain_tables_are_read(text: str, table: Table) -> None:
    assert Table.parse(text) == table


@pytest.mark.parametrize(
    "text",
    ["", "t", "a.b.c", "Public.t", "public.", ".t", 'public."t', 'public."t"x', "a b.c", '"".t', "public.t;", 7, None],
)
def test_what_is_no_table_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        Table.parse(text)


def test_a_table_name_longer_than_postgresql_keeps_is_refused() -> None:
    assert Table.parse("public." + "t" * 63).name == "t" * 63
    with pytest.raises(PydanticCustomError):
        Table.parse("public." + "t" * 64)
    with pytest.raises(PydanticCustomError):
        check_identifier("ü" * 32)


@pytest.mark.parametrize("name", ["a", "billing", "crm-2", "a-b-c", "a" * 40])
def test_plain_names_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a-", "-a", "a b", "a" * 41, "a\n", "ä", "a/b", 3, None, True])
def test_bad_names_are_refused(name: object) -> None:
    with pytest.raises(PydanticCustomError):
        check_name(name)


@given(st.integers(min_value=1, max_value=1 << 50))
def test_a_size_reads_back_from_its_text(size: int) -> None:
    assert parse_size(render_size(size)) == size


@pytest.mark.parametrize("text", ["4 gigabytes", "4gb", "-1GB", "0GB", "", "1e3", "4GB ", 1.5, True, None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(text)


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("postgresql://u@h/d", "postgresql://u@h:5432/d"),
        ("postgres://u@h:6/d", "postgresql://u@h:6/d"),
        ("postgresql://u@[::1]:5432/d?sslmode=require", "postgresql://u@[::1]:5432/d?sslmode=require"),
        ("postgresql://a%40b@10.0.0.1/my%20db", "postgresql://a%40b@10.0.0.1:5432/my%20db"),
    ],
)
def test_an_address_is_told_in_one_form(dsn: str, told: str) -> None:
    address = parse_address(dsn)
    assert str(address) == told
    assert parse_address(told) == address


def test_a_password_is_in_the_driver_dsn_and_nowhere_else() -> None:
    address = parse_address("postgresql://u:p%40ss%2Fw%C3%B6rd@h/d")
    assert address.password is not None
    assert address.password.get_secret_value() == "p@ss/wörd"
    assert "p%40ss%2Fw%C3%B6rd" in address.dsn()
    for shown in (str(address), repr(address), f"{address}"):
        assert "ss" not in shown.removeprefix("Address(host='h', port=5432, user='u', database='d', sslmode=None)")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql:///d",
        "postgresql://u@/d",
        "postgresql://u@%2Ftmp%2Fsocket/d",
        "postgresql://u@/d?host=/tmp",
        "postgresql://u@h/d?host=/var/run",
        "postgresql://u@h,g/d",
        "postgresql://u@h:1,g:2/d",
        "postgresql://u@h/d?options=-c%20role%3Dx",
        "postgresql://u@h/d?passfile=/etc/passwd",
        "postgresql://u@h/d?sslrootcert=/etc/ca",
        "postgresql://u@h/d?sslkey=/k",
        "postgresql://u@h/d?service=x",
        "postgresql://u@h/d?sslmode=maybe",
        "postgresql://u@h/d?sslmode=require&sslmode=disable",
        "postgresql://u@h/d?sslmode",
        "postgresql://u@h:0/d",
        "postgresql://u@h:70000/d",
        "postgresql://u@h:x/d",
        "postgresql://u@h/",
        "postgresql://u@h",
        "postgresql://h/d",
        "postgresql://u@h/d/e",
        "postgresql://u@h/d#x",
        "postgresql://u@h/d%00",
        "postgresql://u@h/d\n",
        "postgresql://u@[::1/d",
        "postgresql://u@[fe80::1%25eth0]/d",
        "mysql://u@h/d",
        "host=/tmp dbname=d",
        "",
    ],
)
def test_sockets_files_and_foreign_options_are_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"DSN|host|port|option|sslmode|IPv6"):
        parse_address(dsn)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_an_address(text: str) -> None:
    for dsn in (text, f"postgresql://{text}", f"postgresql://u:{text}@h/d", f"postgresql://u@h/d?{text}"):
        with suppress(ValueError):
            address = parse_address(dsn)
            assert parse_address(address.dsn()) == address
