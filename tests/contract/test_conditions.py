"""A condition keeps the same rows in the stream, in both forms of it, as the server keeps by the SQL of it."""

from collections.abc import Iterator, Sequence

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nms.common.change import frame
from nms.common.condition import Condition
from nms.common.db.quoting import quote_literal
from nms.common.rows import read_rows
from nms.connectors.postgres import comparing
from nms.connectors.postgres.comparing import TEXTS
from nms.connectors.postgres.conditions import filter_rows
from nms.connectors.postgres.filter import Filter
from nms.connectors.postgres.libpq import PINNED
from tests.services.postgres import PostgresServer

TRUE = frame(b"\x01")
ONE = ("eq", "neq", "gt", "gte", "lt", "lte")
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["a", "A", "a ", "a  ", "", "é", "e\u0301", "\t"]
)
years = st.integers(1, 9999) | st.integers(10_000, 294_275)
dates = st.builds(
    "{:04}-{:02}-{:02}{}".format, years, st.integers(1, 12), st.integers(1, 28), st.sampled_from(["", ""])
) | st.builds("{:04}-{:02}-28 BC".format, st.integers(1, 4712), st.integers(1, 12))
times = st.builds(
    "{:02}:{:02}:{:02}.{:06}".format,
    st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.sampled_from([0, 1, 10, 500_000, 999_999]),
)  # fmt: skip
stamps = st.builds(
    lambda date, time, zone: f"{date.removesuffix(' BC')} {time}{zone}{' BC' * date.endswith('BC')}",
    dates, times, st.sampled_from(["", "+00", "-05:30", "+13"]),
)  # fmt: skip
ends = st.sampled_from(["infinity", "-infinity"])
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str) | st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "0", "-0.00", "1", "1.0", "1.000", "10000", "1e4", "9999.9999", "1e-9", "-1e130"]
)
KINDS: dict[str, st.SearchStrategy[str]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric": numbers | st.integers(-(10**40), 10**40).map(str),
    "real": st.floats(width=32).map(repr) | st.sampled_from(["-0", "0", "NaN", "0.1", "3.4028235e38", "1e-45"]),
    "double precision": st.floats().map(repr) | st.sampled_from(["-0", "0", "NaN", "0.1", "5e-324"]),
    "boolean": st.sampled_from(["true", "false"]),
    "date": dates | ends,
    "time without time zone": times | st.just("24:00:00"),
    "timestamp without time zone": stamps | ends,
    "timestamp with time zone": stamps | ends,
    "uuid": st.uuids().map(str) | st.uuids().map(lambda value: value.hex.upper()),
    "bytea": st.binary(max_size=3).map(lambda value: "\\x" + value.hex()),
    "text": texts,
    "character varying": texts,
    "bpchar": texts,
    "mood": st.sampled_from(["sad", "ok", "happy"]),
}
ORDERED = sorted(set(KINDS) - {"mood"})


@pytest.fixture(scope="module", params=["pg15", "pg18"])
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    server: PostgresServer = request.getfixturevalue(request.param)
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in PINNED.items())
    with psycopg.connect(server.superuser_dsn(), autocommit=True, options=options) as made:
        made.execute("create type pg_temp.mood as enum ('sad', 'ok', 'happy')")
        yield made


def conditions(values: Sequence[str], *, ordered: bool) -> list[Condition]:
    """Every operator over the values."""
    single = [Condition("c", operator, (values[0],)) for operator in (ONE if ordered else ONE[:2])]
    several = [Condition("c", operator, tuple(values)) for operator in ("in", "not_in")]
    return [*single, *several, Condition("c", "null"), Condition("c", "not_null")]


def read(connection: psycopg.Connection, kind: str, values: Sequence[str]) -> list[str]:
    """What the server makes of texts."""
    listed = ", ".join(f"format('%s', {quote_literal(value)}::{kind})" for value in values)
    found = connection.execute(f"select array[{listed}]".encode()).fetchone()
    assert found is not None
    return list(found[0])


def disagreements(
    connection: psycopg.Connection, kind: str, rows: Sequence[str | None], asked: Sequence[str]
) -> list[tuple[str, bytes, bool]]:
    """Where the server keeps a row by a condition and we do not, or the other way round."""
    wanted = conditions(read(connection, kind, asked), ordered=kind != "mood")
    collated = ' collate "C"' if kind in TEXTS else ""
    given_rows = ", ".join("null" if row is None else quote_literal(row) for row in rows)
    kept = ", ".join(f"({filter_rows([one], {'c': kind})}) is true" for one in wanted)
    sql = (
        f"copy (select c, case when c is not null then format('%s', c) end, {kept} from"
        f" (select v::{kind}{collated} as c from unnest(array[{given_rows}]::text[]) v) t) to stdout (format binary)"
    )
    with connection.cursor().copy(sql.encode()) as copy:
        data = [bytes(block) for block in copy]
    found = []
    for binary, text, *answers in read_rows(data):
        for field, text_form in ((binary, False), (text, True)):
            for one, answer in zip(wanted, answers, strict=True):
                sieve = Filter([one], {"c": kind}, text_form=text_form).bind("t", ["c"], [])
                if sieve.keeps([field]) is not (answer == TRUE):
                    found.append((f"{one.operator} {one.values}", field, text_form))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_keeps_what_the_server_keeps(connection: psycopg.Connection, kind: str) -> None:
    values = KINDS[kind]

    @settings(max_examples=25)
    @given(
        st.lists(values | st.none(), min_size=1, max_size=8), st.lists(values, min_size=1, max_size=3), st.booleans()
    )
    def look(rows: list[str | None], asked: list[str], meets: bool) -> None:
        met = [row for row in rows if row is not None] if meets else []
        assert disagreements(connection, kind, rows, [*met[:1], *asked]) == []

    look()


@pytest.mark.parametrize("kind", ["numeric", "bpchar", "timestamp without time zone", "real", "boolean"])
def test_a_comparison_that_is_not_the_servers_is_seen(
    connection: psycopg.Connection, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        "numeric": ["1.0", "1", "9", "10"], "bpchar": ["a", "a "], "boolean": ["true", "false"], "real": ["0", "-0"],
        "timestamp without time zone": ["1999-01-01", "2001-01-01", "0001-01-01 BC"],
    }[kind]  # fmt: skip
    assert disagreements(connection, kind, rows, rows[:1]) == []
    for form in ("_TEXT", "_BINARY"):
        monkeypatch.setattr(comparing, form, {**getattr(comparing, form), kind: bytes})
    assert disagreements(connection, kind, rows, rows[:1]) != []
