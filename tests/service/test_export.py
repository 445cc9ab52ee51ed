"""Exports that are streamed: whole, from one snapshot, ended by a record that tells rows and hash."""

import csv
import gzip
import hashlib
import io
import json
from typing import Any

import asyncpg
import httpx2
import pyarrow.parquet
import pytest
from backports import zstd

from nms.common.document import EntityDocument
from nms.common.settings import Settings
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.service.web_client import problem_of

FIELDS: dict[str, str | dict[str, Any]] = {
    "id": "bigint", "title": {"type": "text", "index": True}, "flag": "boolean", "small": "smallint",
    "amount": {"type": "numeric", "precision": 12, "scale": 2}, "exact": "numeric", "ratio": "double", "part": "real",
    "day": "date", "at": "timestamp", "hour": "time", "ref": "uuid", "data": "json",
}  # fmt: skip
ALL = entity("all_types", FIELDS)
ROW = {
    "id": -7, "title": "a \"quoted\", text\nof two lines", "flag": True, "small": -3, "amount": -12.5,
    "exact": 1e30, "ratio": -0.5, "part": 2.5, "day": "2026-11-22", "at": "2026-11-22T05:00:00.000001+00:00",
    "hour": "23:59:59.5", "ref": "0f0e0d0c-0b0a-0908-0706-050403020100", "data": {"a": [1, "=x"]},
}  # fmt: skip


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def fill(settings: Settings, document: EntityDocument, *rows: dict[str, Any]) -> None:
    """Insert records as someone with psql would."""
    async with connected(settings) as connection:
        table = f'entity."{document.name}"'
        names = ", ".join(f'"{name}"' for name in document.fields)
        await connection.execute(
            f"insert into {table} ({names}) select {names}"
            f" from jsonb_populate_recordset(null::{table}, $1::text::jsonb)",
            json.dumps(rows),
        )


async def hash_of(
    connection: asyncpg.Connection, table: str, order: str = "id", text: str = "_json"
) -> tuple[int, str]:
    """Rows and hash as the how-to computes them."""
    row = await connection.fetchrow(
        f"select count(*), encode(sha256(coalesce(string_agg(sha256(convert_to({text}, 'UTF8')), ''::bytea"
        f" order by {order}), '')), 'hex') from entity.{table}"
    )
    assert row is not None
    return row[0], row[1]


def end_of(answer: httpx2.Response) -> dict[str, Any]:
    """The closing record of an NDJSON, held against what stands before it."""
    lines = answer.content.splitlines(keepends=True)
    end: dict[str, Any] = json.loads(lines[-1])["_end"]
    assert end["rows"] == len(lines) - 1
    assert end["content_sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    return end


async def test_records_go_out_in_the_order_of_their_keys_with_a_hash_that_sql_computes(settings: Settings) -> None:
    await make_entities(ALL)
    await fill(settings, ALL, *({**ROW, "id": n, "title": f"title {n % 7}"} for n in range(2_500)))
    async with serving(settings) as client, connected(settings) as connection:
        answer = await client.get("/all_types/export")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        assert answer.headers["content-disposition"] == 'attachment; filename="all_types.ndjson"'
        texts = [row[0] for row in await connection.fetch("select _json from entity.all_types order by id")]
        assert answer.text.splitlines()[:-1] == texts
        end = end_of(answer)
        assert (end["rows"], end["sha256"]) == await hash_of(connection, "all_types")
        assert end["sequence"] == await connection.fetchval("select max(_sequence) from entity.all_types")
        sorted_ = end_of(await client.get("/all_types/export?sort=-title"))
        assert (2_500, sorted_["sha256"]) == await hash_of(connection, "all_types", "title desc, id desc")
        assert sorted_["sha256"] != end["sha256"]


async def test_an_entity_without_records_is_exported_with_its_closing_record(settings: Settings) -> None:
    await make_entities(ALL)
    async with serving(settings) as client, connected(settings) as connection:
        end = end_of(await client.get("/all_types/export"))
        assert (end["rows"], end["sha256"]) == (0, hashlib.sha256().hexdigest())
        assert (0, end["sha256"]) == await hash_of(connection, "all_types")
        lines = (await client.get("/all_types/export?format=csv")).text.split("\r\n")
        assert lines[0] == ",".join(FIELDS)
        assert lines[1].startswith("#end rows=0 ")
        table = read_parquet((await client.get("/all_types/export?format=parquet")).content)
        assert (table.num_rows, table.column_names) == (0, list(FIELDS))


async def test_filters_fields_search_and_sort_are_those_of_lists(settings: Settings) -> None:
    await make_entities()
    async with serving(settings) as client, connected(settings) as connection:
        await connection.execute(
            'insert into entity.posts (id, "userId", title, body)'
            " select n, n % 10, case when n % 2 = 0 then 'even' else 'odd' end, 'body ' || n"
            " from generate_series(1, 100) n"
        )
        answer = await client.get("/posts/export?userId=4&sort=-id&fields=id,title")
        assert [json.loads(line) for line in answer.text.splitlines()[:2]] == [
            {"id": 94, "title": "even"}, {"id": 84, "title": "even"},
        ]  # fmt: skip
        assert end_of(answer)["rows"] == 10
        assert end_of(await client.get("/posts/export?q=odd"))["rows"] == 50
        assert end_of(await client.get("/posts/export?filter=id gt 90 and title eq 'even'"))["rows"] == 5
        lines = (await client.get("/posts/export?format=csv&fields=title,id&id.lt=3")).text.split("\r\n")
        assert lines[:3] == ["title,id", "odd,1", "even,2"]
        for wrong in ("limit=5", "cursor=x", "offset=1", "count=exact", "lineage=1", "nothing=1", "sort=body"):
            problem = problem_of(await client.get(f"/posts/export?{wrong}"), 422, "malformed")
            assert problem["errors"][0]["in"] == "query"
        problem_of(await client.get("/posts/export?format=xml"), 422, "malformed")


async def test_a_hash_of_some_fields_is_that_of_their_json(settings: Settings) -> None:
    await make_entities(ALL)
    await fill(settings, ALL, *({**ROW, "id": n} for n in range(50)))
    async with serving(settings) as client, connected(settings) as connection:
        end = end_of(await client.get("/all_types/export?fields=id,title"))
        text = """'{"id":' || id || ',"title":' || to_json(title) || '}'"""
        assert (50, end["sha256"]) == await hash_of(connection, "all_types", text=text)


@pytest.mark.parametrize("format_", ["ndjson", "csv"])
async def test_what_is_packed_unpacks_to_the_same(settings: Settings, format_: str) -> None:
    await make_entities(ALL)
    await fill(settings, ALL, *({**ROW, "id": n} for n in range(700)))
    async with serving(settings) as client:
        plain = await client.get(f"/all_types/export?format={format_}")
        packed = await client.get(f"/all_types/export?format={format_}&compression=gzip")
        assert packed.headers["content-type"] == "application/gzip"
        assert "content-encoding" not in packed.headers
        assert packed.headers["content-disposition"] == f'attachment; filename="all_types.{format_}.gz"'
        assert gzip.decompress(packed.content) == plain.content
        packed = await client.get(f"/all_types/export?format={format_}&compression=zstd")
        assert zstd.decompress(packed.content) == plain.content
        assert len(packed.content) < len(plain.content) / 5


def read_csv(text: str) -> tuple[list[str], list[list[str]], dict[str, str]]:
    """Header, rows and closing record of a CSV."""
    header, *rows, last = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert last[0].startswith("#end ")
    facts = dict(one.split("=") for one in last[0].split(" ")[1:])
    before = text[: text.rindex("#end ")].encode()
    assert facts["content_sha256"] == hashlib.sha256(before).hexdigest()
    assert int(facts["rows"]) == len(rows)
    return header, rows, facts


HOSTILE = {
    "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx",
    "\uff1d1": "'\uff1d1", "=": "'=", '="a""b"': '\'="a""b"', "-": "'-", "#end rows=1": "#end rows=1", "": "",
    "a=1": "a=1", "1-1": "1-1", " lead": " lead", "trail ": "trail ", 'q"q': 'q"q', "a,b": "a,b", "a\r\nb": "a\r\nb",
    "'": "'", "\u00fc\u20ac\U0001f600": "\u00fc\u20ac\U0001f600", "NULL": "NULL", ";": ";",
}  # fmt: skip


async def test_no_cell_of_a_csv_is_taken_for_a_formula(settings: Settings) -> None:
    document = entity("cells", {"id": "bigint", "text": "text", "number": {"type": "numeric"}, "data": "json"})
    await make_entities(document)
    rows = [{"id": n, "text": text, "number": -n, "data": text} for n, text in enumerate(HOSTILE)]
    await fill(settings, document, *rows, {"id": 1000, "text": None, "number": None, "data": -5})
    async with serving(settings) as client, connected(settings) as connection:
        answer = await client.get("/cells/export?format=csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        header, cells, facts = read_csv(answer.text)
        assert header == ["id", "text", "number", "data"]
        assert [row[1] for row in cells] == [*HOSTILE.values(), ""]
        assert [row[2] for row in cells] == [str(-n) for n in range(len(HOSTILE))] + [""]
        # A JSON text begins with a quote, and a number of it is no number of the column.
        assert [row[3] for row in cells] == [json.dumps(text, ensure_ascii=False) for text in HOSTILE] + ["'-5"]
        # Nothing is nothing, a text without characters is in quotes; so is what looks like the closing line.
        assert '\r\n1000,,,"\'-5"\r\n' in answer.text
        assert ',"",' in answer.text
        assert answer.text.count("\r\n#end") == 1
        assert (len(cells), facts["sha256"]) == await hash_of(connection, "cells")


async def test_values_of_all_types_arrive_in_a_csv(settings: Settings) -> None:
    await make_entities(ALL)
    await fill(settings, ALL, ROW, {"id": 1})
    async with serving(settings) as client:
        header, rows, _ = read_csv((await client.get("/all_types/export?format=csv")).text)
    assert rows[1] == ["1", *[""] * (len(FIELDS) - 1)]
    row = dict(zip(header, rows[0], strict=True))
    assert row | {"exact": float(row["exact"])} == {
        "id": "-7", "title": ROW["title"], "flag": "true", "small": "-3", "amount": "-12.50", "exact": 1e30,
        "ratio": "-0.5", "part": "2.5", "day": "2026-11-22", "at": ROW["at"], "hour": "23:59:59.5", "ref": ROW["ref"],
        "data": '{"a": [1, "=x"]}',
    }  # fmt: skip


def read_parquet(content: bytes) -> Any:
    return pyarrow.parquet.read_table(io.BytesIO(content))


async def test_values_of_all_types_arrive_in_a_parquet_file_with_the_closing_record_in_its_footer(
    settings: Settings,
) -> None:
    await make_entities(ALL)
    await fill(settings, ALL, ROW, {"id": 1})
    async with serving(settings) as client, connected(settings) as connection:
        answer = await client.get("/all_types/export?format=parquet")
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        file = pyarrow.parquet.ParquetFile(io.BytesIO(answer.content))
        told = {name.decode(): value.decode() for name, value in file.metadata.metadata.items()}
        assert (int(told["nms.rows"]), told["nms.sha256"]) == await hash_of(connection, "all_types")
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        first, second = file.read().to_pylist()
    assert second == {"id": 1} | {name: None for name in FIELDS if name != "id"}
    shown = {name: str(value) for name, value in first.items()}
    assert shown == {
        "id": "-7", "title": ROW["title"], "flag": "True", "small": "-3", "amount": "-12.50", "exact": f"{10**30}",
        "ratio": "-0.5", "part": "2.5", "day": "2026-11-22", "at": "2026-11-22 05:00:00.000001+00:00",
        "hour": "23:59:59.500000", "ref": ROW["ref"], "data": '{"a": [1, "=x"]}',
    }  # fmt: skip
    assert {one.name: str(one.type) for one in file.schema_arrow} == {
        "id": "int64", "title": "string", "flag": "bool", "small": "int16", "amount": "decimal128(12, 2)",
        "exact": "string", "ratio": "double", "part": "float", "day": "date32[day]", "at": "timestamp[us, tz=UTC]",
        "hour": "time64[us]", "ref": "string", "data": "string",
    }  # fmt: skip


async def test_what_parquet_cannot_hold_is_no_value(settings: Settings) -> None:
    await make_entities(ALL)
    async with serving(settings) as client, connected(settings) as connection:
        await connection.execute(
            "insert into entity.all_types (id, day, at, amount, ratio) values"
            " (1, 'infinity', '-infinity', 'NaN', 'NaN'), (2, '4000-01-01 BC', '294276-12-31', 1, 'infinity'),"
            " (3, '9999-12-31', '0001-01-01 00:00:00+00', 9999999999.99, '-infinity')"
        )
        table = read_parquet((await client.get("/all_types/export?format=parquet")).content)
    assert table["day"].is_null().to_pylist() == [True, False, False]
    assert table["at"].is_null().to_pylist() == [True, True, False]
    assert table["amount"].is_null().to_pylist() == [True, False, False]
    assert [str(one) for one in table["ratio"].to_pylist()] == ["nan", "inf", "-inf"]


async def test_whoever_may_not_read_an_entity_finds_no_export_of_it(settings: Settings) -> None:
    await make_entities()
    async with serving(settings, "entities:read:comments", "tasks:read") as client:
        assert (await client.get("/comments/export")).status_code == 200
        hidden = problem_of(await client.get("/posts/export"), 404, "not-found")
        nothing = problem_of(await client.get("/nothing/export"), 404, "not-found")
        assert hidden["detail"] == nothing["detail"]
