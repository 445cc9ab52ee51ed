"""The ready JSON text of records is what PostgreSQL makes of their columns, whoever wrote them and how."""

import random

import asyncpg
import pytest

from nms.common.settings import Settings
from nms.warehouse.table import TYPES
from tests.service.warehouse import entity, make_entities

TEXTS = ("", "a", "Zoë", '"\\/\b\f\n\r\t', "\x01\x1f\x7f", "\u2028\u2029", "😀", "' \" $1 %s {}", "null", "a" * 3_000)
EDGES: dict[str, tuple[str, ...]] = {
    "text": TEXTS,
    "boolean": ("true", "false"),
    "smallint": ("0", "-32768", "32767"),
    "integer": ("0", "-2147483648", "2147483647"),
    "bigint": ("0", "-9223372036854775808", "9223372036854775807"),
    "numeric": ("0", "0.00", "-0.50", "NaN", "Infinity", "1e-30", "1" * 60 + ".5", "12345678901234567890"),
    "real": ("0", "-0", "NaN", "Infinity", "-Infinity", "1.17549435e-38", "3.4028235e38", "0.1", "16777217"),
    "double": ("0", "-0", "NaN", "-Infinity", "2.2250738585072014e-308", "0.1", "1e21", "0.30000000000000004"),
    "date": ("infinity", "-infinity", "0044-03-15 BC", "2026-02-28", "5874897-12-31"),
    "timestamp": (
        "infinity",
        "0001-01-01 00:00:00+00 BC",
        "2026-11-22 01:02:03.004005+05:30",
        "1900-01-01 00:00:00+00",
    ),
    "time": ("00:00:00", "24:00:00", "12:34:56.000001"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
    "json": ("null", "{}", "[]", '"a\\"b"', "1.50", '{"b": [1, {"c": null}], "a": "\\u2028"}', "true"),
}
SETTINGS = (
    "set timezone = 'Asia/Kathmandu'; set datestyle = 'German'; set extra_float_digits = 0",
    "set timezone = 'America/St_Johns'; set datestyle = 'SQL, MDY'; set extra_float_digits = -15",
    "set timezone = 'UTC'; set extra_float_digits = 3; set intervalstyle = 'iso_8601'",
)
CASTS = {"double": "double precision", "timestamp": "timestamptz", "json": "jsonb"}
WIDE = {kind: {"type": kind} for kind in TYPES}


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


def some(chance: random.Random, kind: str) -> str | None:
    return None if chance.random() < 0.2 else chance.choice(EDGES[kind])


def assignments() -> str:
    return ", ".join(f'"{kind}" = ${at}::text::{CASTS.get(kind, kind)}' for at, kind in enumerate(WIDE, 2))


def insert(table: str) -> str:
    values = ", ".join(f"${at}::text::{CASTS.get(kind, kind)}" for at, kind in enumerate(WIDE, 2))
    names = ", ".join(f'"{kind}"' for kind in WIDE)
    return f"insert into {table} (id, {names}) values ($1, {values})"


async def differing(psql: asyncpg.Connection) -> int:
    names = ", ".join(f'"{each}"' for each in ("id", *WIDE))
    await psql.execute("set timezone = 'UTC'; set extra_float_digits = 1")
    return int(
        await psql.fetchval(
            f"select count(*) from entity.wide as t cross join lateral (select {names}) as r"
            " where t._json is distinct from row_to_json(r)::text"
        )
    )


async def test_the_json_of_a_record_is_that_of_its_columns(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities(entity("wide", {"id": "bigint", **WIDE}))
    chance = random.Random(7)
    names = ", ".join(f'"{each}"' for each in ("id", *WIDE))
    await psql.execute(f"create temporary table draft as select {names} from entity.wide with no data")
    for number in range(400):
        await psql.execute(chance.choice(SETTINGS))
        values = [some(chance, kind) for kind in WIDE]
        await psql.execute(insert(chance.choice(("entity.wide", "draft"))), number, *values)
    for _ in range(100):
        await psql.execute(chance.choice(SETTINGS))
        values = [some(chance, kind) for kind in WIDE]
        await psql.execute(f"update entity.wide set {assignments()} where id = $1", chance.randrange(400), *values)
    await psql.execute(chance.choice(SETTINGS))
    upsert = "on conflict (id) do update set text = excluded.text"
    await psql.execute(f"insert into entity.wide ({names}) select {names} from draft {upsert}")
    assert await differing(psql) == 0
    assert await psql.fetchval("select count(*) from entity.wide") == 400


async def test_copied_records_are_whole_too(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities(entity("wide", {"id": "bigint", **WIDE}))
    rows = [(number, TEXTS[number % len(TEXTS)]) for number in range(500)]
    await psql.execute(SETTINGS[0])
    await psql.copy_records_to_table("wide", schema_name="entity", columns=["id", "text"], records=rows)
    assert await differing(psql) == 0
    assert await psql.fetchval("select count(distinct _sequence) from entity.wide") == 500


async def test_a_text_that_is_too_long_for_full_text_is_stored_all_the_same(
    settings: Settings, psql: asyncpg.Connection
) -> None:
    await make_entities(entity("long", {"id": "bigint", "body": {"type": "text", "search": True}}))
    text = " ".join(chr(0x4E00 + number % 20_000) + str(number) for number in range(300_000))
    await psql.execute("insert into entity.long values (1, $1)", text)
    assert await psql.fetchval("select body = $1 from entity.long", text)
