"""Pages of JSON records become the rows that their changes would: fast where they can, one by one where they must."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nms.common.change import UNCHANGED, Change, Op, Shape
from nms.common.flow import Batch, DatasetSpec, Page, Part, Position, common_members
from nms.common.messages import find, to_field
from nms.common.strict_json import parse
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.inlet import Inlet, Keys, Shapes, open_inlet
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.target import PostgresTarget
from tests.contract.pipelines import PREPARE, Connection, MakeDatabase, connect

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

    async def open_feed(_shapes: Shapes, _start: Position, keys: Keys) -> Silent:
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
