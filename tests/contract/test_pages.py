"""Pages of JSON records become the rows that their changes would: fast where they can, one by one where they must."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nms.common.change import UNCHANGED, Change, Op, Shape
from nms.common.flow import Batch, ChangeRefused, DatasetSpec, Page, Part, Position, common_members
from nms.common.messages import find, to_field
from nms.common.strict_json import parse
from nms.connectors.postgres import inlet
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.inlet import Above, Inlet, Keys, Shapes, open_inlet
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.target import PostgresTarget
from tests.contract.pipelines import PREPARE, Connection, MakeDatabase, connect, rows_of

MISSING: Any = object()


class Silent:
    """A feed of which the test takes nothing: it makes the batches itself."""

    async def batches(self) -> AsyncGenerator[Batch, None]:
        nothing: Sequence[Batch] = ()
        for batch in nothing:
            yield batch

    async def confirm(self, position: Position) -> None:
        """Nothing to tell."""

    async def close(self) -> None:
        """Nothing to end."""

    def read(self, dataset: str, body: bytes) -> list[Change]:
        return []

    def facts(self) -> dict[str, Any]:
        return {}


@dataclass
class Fed:
    """A table that pages go into, beside a session at it."""

    inlet: Inlet
    keys: Keys
    at: Connection
    place: int = 0
    fast: int = 0

    @property
    def shape(self) -> Shape:
        return self.inlet.shape("records")

    async def take(self, *pages: Page, small: Part = ()) -> tuple[int, int]:
        """Apply pages as one batch; gives changes and rows."""
        self.place += 1

        async def parts() -> AsyncIterator[Part]:
            yield small

        position = {"generation": 1, "place": self.place}
        applied = await self.inlet.target.apply(Batch(position, parts, place=self.place, small=small, pages=pages))
        assert json.loads(await self.at.fetchval("select position::text from nms.position")) == position
        return applied.changes, applied.rows

    def page(self, records: Sequence[Any] | str, wrap: Sequence[str] = ()) -> Page:
        """A page as a source makes one: of records, or of the text of their array."""
        text = records if isinstance(records, str) else json.dumps(records)
        read = json.loads(text)
        for member in reversed(wrap):
            text = f'{{"before": [1], {json.dumps(member)}: {text}, "after": {{}}}}'
        return Page(
            self.shape,
            text.encode(),
            tuple(wrap),
            len(read),
            lambda: changes_of_page(text.encode(), wrap, self.shape),
            common_members(self.shape, read),
        )


def changes_of_page(body: bytes, wrap: Sequence[str], shape: Shape) -> list[Change]:
    """The records of a page as inserts."""
    records = parse(body)
    for member in wrap:
        records = records[member]
    changes = []
    for record in records:
        found = [find(record, column.name, MISSING) for column in shape.columns]
        fields = tuple(
            UNCHANGED if value is MISSING else to_field(value, column.type)
            for value, column in zip(found, shape.columns, strict=True)
        )
        changes.append(Change(shape, Op.INSERT, shape.key_of(fields), fields))
    return changes


@asynccontextmanager
async def feed(dsn: str, ddl: str, tmp_path: Path, **options: Any) -> AsyncIterator[Fed]:
    """An inlet into a new table `record` of a database."""
    at = await connect(dsn)
    await at.execute(f"drop table if exists record; create table record ({ddl})")
    await at.execute(PREPARE.read_text() if await at.fetchval("select to_regnamespace('nms') is null") else "")
    spec = PipelineSpec(
        "pages", "", Access("api", ""), Access("shop", dsn), (DatasetSpec("records", "public.record", **options),),
        1, True, True, 1000, 0, tmp_path, 0, capture="pull",
    )  # fmt: skip
    given: list[Keys] = []

    async def open_feed(_shapes: Shapes, _start: Position, keys: Keys, _above: Above) -> Silent:
        given.append(keys)
        return Silent()

    async with open_inlet(spec, open_feed) as inlet:
        yield Fed(inlet, given[0], at)
    await at.execute("truncate nms.position")
    await at.close()


DDL = "id bigint primary key, name text, price numeric, extra json, tags text[], at timestamptz, seen bool"
RECORDS = [
    {
        "id": at, "name": f"n{at}", "price": at / 4, "extra": {"a": [at, None]}, "tags": ["x", str(at)],
        "at": "2026-01-01", "seen": at % 2 == 0,
    }
    for at in range(1, 8)
]  # fmt: skip


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """The parts that were written one change at a time."""
    seen: list[Part] = []
    write = PostgresTarget._commands

    def note(self: PostgresTarget, changes: Part) -> Any:
        seen.append(changes)
        return write(self, changes)

    monkeypatch.setattr(PostgresTarget, "_commands", note)
    return seen


@pytest.mark.parametrize("server", ["15", "16", "18"], indirect=True)
async def test_a_page_becomes_rows_and_the_same_page_rewrites_none(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with feed(await make_database(), DDL, tmp_path) as fed:
        assert await fed.take(fed.page(RECORDS)) == (7, 7)
        before = await fed.at.fetch("select xmin, * from record order by id")
        assert await fed.take(fed.page(RECORDS), fed.page(RECORDS, ("data", "it's \\ {"))) == (14, 0)
        assert await fed.at.fetch("select xmin, * from record order by id") == before
        changed = [*RECORDS[:3], {**RECORDS[3], "price": None}, *RECORDS[4:]]
        assert await fed.take(fed.page(changed, ("data", "items"))) == (7, 1)
        assert await fed.at.fetchval("select array_agg(id) from record where price is null") == [4]


VALUES: dict[str, tuple[Any, ...]] = {
    "smallint": (-32768, "7", None), "int": (2147483647, "-1"), "bigint": (-9223372036854775808, "9007199254740993"),
    "numeric": (1.50, "NaN", 123456789012345678), "numeric(12, 3)": (0.125, "7"), "real": (0.1, "-Infinity"),
    "float8": (1e300, "0.30000000000000004"), "bool": (True, "off", False),
    "text": ("ünï \\ \" \t", "", 12, True, [1, "a"]),
    "varchar(20)": ("abc", 5), "char(5)": ("ab", "x    "), "bytea": ("\\x00ff", "abc"),
    "date": ("2026-01-31", "infinity"),
    "time": ("24:00", "01:02:03.5"), "timestamp": ("2026-01-31T10:00:00", "-infinity"),
    "timestamptz": ("2026-03-29T02:30:00+02:00", "2026-03-29T02:30:00.123456Z"), "interval": ("1 day 02:00", "P1Y"),
    "uuid": ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",),
    "json": ({"b": [1, None], "a": "é"}, [], "text", 0.10, False, None),
    "jsonb": ({"b": [1, None], "a": "é"}, [], "text", 0.10, False, None), "inet": ("::1/64",), "point": ("(1,2)",),
    "int[]": ([1, None, 3], "{4,5}", []), "text[]": (["a,b", None, "null", "", '"\\'], "{x}"),
    "numeric[]": ([[1.5, 2], [3, 4]],), "jsonb[]": (["a", '{"b": 1}', {"c": "d"}, 1, None, True], [["x"], [{}]]),
    "json[]": (["a", "1", {"b": [2]}, None],), "mood": ("happy",),
    "small": (99, None),
}  # fmt: skip
TYPES = "create type mood as enum ('sad', 'happy'); create domain small as int check (value < 100);"


async def test_values_of_every_type_are_those_that_changes_bring(
    make_database: MakeDatabase, tmp_path: Path, exact: list[Part]
) -> None:
    dsn = await make_database()
    made = await connect(dsn)
    await made.execute(TYPES)
    await made.close()
    longest = max(map(len, VALUES.values()))
    records = [
        {"id": at, **{f"c{n}": of[at % len(of)] for n, of in enumerate(VALUES.values())}} for at in range(longest)
    ]
    text = json.dumps(records, ensure_ascii=False, separators=(",", ":"))
    ddl = "id int primary key, " + ", ".join(f"c{n} {kind}" for n, kind in enumerate(VALUES))
    async with feed(dsn, ddl, tmp_path) as fed:
        assert await fed.take(replace(fed.page(text), members=None)) == (longest, longest)
        rows = await rows_of(fed.at, "record")
        exact.clear()
        await fed.at.execute("truncate record")
        assert await fed.take(fed.page(text)) == (longest, longest)
        assert await rows_of(fed.at, "record") == rows
        assert await fed.take(fed.page(text)) == (longest, 0)
        assert not any(exact)


async def test_a_value_that_is_missing_stays_and_null_empties(
    make_database: MakeDatabase, tmp_path: Path, exact: list[Part]
) -> None:
    async with feed(await make_database(), "id int primary key, a text default 'new', b int", tmp_path) as fed:
        await fed.take(fed.page([{"id": 1, "a": "x", "b": 1}, {"id": 2, "a": "y", "b": 2}]))
        await fed.take(fed.page([{"id": 1, "b": None}, {"id": 3, "b": 3}]))
        assert not any(exact)
        assert await fed.take(fed.page([{"id": 1, "b": 4}, {"id": 2, "a": None}, {"id": 4}])) == (3, 3)
        rows = [tuple(row) for row in await fed.at.fetch("select id, a, b from record order by id")]
        assert rows == [(1, "x", 4), (2, None, 2), (3, "new", 3), (4, "new", None)]


async def test_one_record_is_refused_and_its_page_is_not(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with feed(await make_database(), "id int primary key, a int check (a < 10), b int", tmp_path) as fed:
        good = fed.page([{"id": at, "a": 1, "b": at} for at in range(5)])
        bad = fed.page([{"id": 5, "a": 1, "b": 5}, {"id": 6, "a": 10, "b": 6}])
        with pytest.raises(ChangeRefused) as refused:
            await fed.take(good, bad, good)
        assert fed.inlet.show_key(refused.value.change) == "6"
        assert refused.value.problem.facts["constraint"] == "record_a_check"
        assert await fed.at.fetchval("select count(*) from record") == 0
        held = replace(bad, count=1, members=None, changes=lambda: bad.changes()[:1])
        assert await fed.take(good, held, good) == (11, 6)


async def test_a_key_twice_in_a_page_counts_as_it_came_last(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with feed(await make_database(), "id int primary key, a int", tmp_path) as fed:
        page = fed.page([{"id": 1, "a": 1}, {"id": 2, "a": 2}, {"id": 1, "a": 3}])
        assert (await fed.take(page, fed.page([{"id": 2, "a": 4}])))[0] == 4
        assert [tuple(row) for row in await fed.at.fetch("select id, a from record order by id")] == [(1, 3), (2, 4)]


async def test_an_older_version_is_passed_over(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with feed(await make_database(), "id int primary key, v int, a int", tmp_path, version="v") as fed:
        await fed.take(fed.page([{"id": 1, "v": 2, "a": 2}, {"id": 2, "v": 2, "a": 2}]))
        assert await fed.take(fed.page([{"id": 1, "v": 1, "a": 1}, {"id": 2, "v": 3, "a": 3}])) == (2, 1)
        assert await fed.at.fetchval("select array_agg(a order by id) from record") == [2, 3]


async def test_the_keys_of_a_target_come_in_order_and_in_parts(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inlet, "KEYS_PART", 3)
    async with feed(await make_database(), "a text, b numeric, primary key (a, b)", tmp_path) as fed:
        await fed.at.execute("insert into record select chr(97 + n % 2) || '''', n / 2.0 from generate_series(1, 7) n")
        parts = [list(part) async for part in fed.keys("records")]
        assert [len(part) for part in parts] == [3, 3, 1]
        rows = await fed.at.fetch("select a, b::text from record order by a, b")
        assert [key for part in parts for key in part] == [tuple(row) for row in rows]


async def test_a_page_as_large_as_is_read_is_written(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with feed(await make_database(), "id int primary key, a text", tmp_path) as fed:
        records = [{"id": at, "a": "x" * (1 << 20)} for at in range(63)]
        assert await fed.take(fed.page(records, ("data",))) == (63, 63)
        assert await fed.at.fetchval("select sum(length(a)) from record") == 63 << 20
