"""The sample: every value of every column in one table, and what two ends must agree in."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from nms.common.db.quoting import quote_literal
from tests.contract.fidelity.columns import Column
from tests.contract.fidelity.figures import NUMBERS
from tests.contract.fidelity.nested import NESTED
from tests.contract.fidelity.own import EXTENSIONS, OWN, TYPES
from tests.contract.fidelity.places import PLACES
from tests.contract.fidelity.texts import TEXTS
from tests.contract.fidelity.times import TIMES
from tests.contract.pipelines import Connection, Pipe, join
from tests.services.postgres import PostgresServer

COLUMNS = (*NUMBERS, *TEXTS, *TIMES, *PLACES, *NESTED, *OWN, *EXTENSIONS)
INFINITE_INTERVALS = 17
Servers = tuple[PostgresServer, PostgresServer]
FILLERS = 500
"""Rows beside the sample's, so that a transaction has more changes than are written one by one."""


class Sample:
    """Columns with their values; row n has the nth value of each column, and null where there are no more."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.names = [f"c{at}" for at in range(len(columns))]
        self.rows = max(len(one.values) for one in columns) + 1

    @property
    def ddl(self) -> str:
        """The tables `sample` (where the values stand ready) and `t` (which travels)."""
        listed = ", ".join(f"{name} {one.type}" for name, one in zip(self.names, self.columns, strict=True))
        return "".join(
            f"create table {table} (id integer primary key, n integer not null default 0, {listed});"
            for table in ("sample", "t")
        )

    async def fill(self, connection: Connection) -> None:
        """Write the values into `sample`."""
        for row in range(self.rows):
            # As constants, which go to the type's input function; a cast from text is a function of its own for some.
            there = {
                name: f"{quote_literal(one.values[row])}::{_cast(one)}"
                for name, one in zip(self.names, self.columns, strict=True)
                if row < len(one.values)
            }
            names, values = "".join(f", {name}" for name in there), "".join(f", {value}" for value in there.values())
            await connection.execute(f"insert into sample (id{names}) values ({row}{values})")

    def insert(self) -> str:
        """Every row of the sample into `t`."""
        listed = ", ".join(self.names)
        return f"insert into t (id, {listed}) select id, {listed} from sample"

    def steps(self) -> Iterator[tuple[str, int]]:
        """What happens to the rows of an empty `t` (one transaction each), and how many there are then."""
        sets = ", ".join(f"{name} = s.{name}" for name in self.names)
        change = f"update t set {sets} from sample s where s.id = (t.id + 1) % {self.rows} and t.id < {self.rows};"
        yield self.insert(), self.rows
        yield change, self.rows
        # Values that are kept outside the row and did not change are not in the log.
        yield "update t set n = n + 1; update t set id = id + 500", self.rows
        yield "delete from t", 0
        many = f"insert into t (id) select generate_series(1000, {999 + FILLERS})"
        yield f"{self.insert()}; {many}; delete from t where id = 1", self.rows + FILLERS - 1
        yield f"{change} update t set n = n + 1", self.rows + FILLERS - 1
        yield "delete from t", 0

    async def compare(self, pipe: Pipe) -> int:
        """Fail unless both ends have the same rows, each value alike in text and type; gives how many there are."""
        shown = ", ".join(f"row({name})::text" for name in self.names)
        kinds = ", ".join(f"pg_typeof({name})::text" for name in self.names)
        ends = pipe.source, pipe.target
        left, right = [await end.fetch(f"select id, n, {shown} from t order by id") for end in ends]
        assert [row["id"] for row in right] == [row["id"] for row in left]
        types = [await end.fetchrow(f"select {kinds} from t limit 1") for end in ends]
        assert types[0] == types[1]
        differing = [
            f"{(['id', 'n', *(one.type for one in self.columns)])[at]}: {one[at][:80]} became {other[at][:80]}"
            for one, other in zip(left, right, strict=True)
            for at in range(len(one))
            if one[at] != other[at]
        ]
        assert not differing, "\n".join(differing)
        return len(left)


def _cast(one: Column) -> str:
    return one.type.partition(" collate")[0]


@asynccontextmanager
async def between(
    servers: Servers, spool: Path, ddl: str, datasets: Sequence[Any], **options: Any
) -> AsyncIterator[Pipe]:
    """A pipeline between new databases of two servers that have the types of users and the extensions of both."""
    dsns = [await server.create_database() for server in servers]
    names = [dsn.rsplit("/", 1)[1] for dsn in dsns]
    try:
        for extension in sorted(one for one in await abilities(servers) - {"xml"} if not one.isdigit()):
            for server, name in zip(servers, names, strict=True):
                await server.execute(f'create extension "{extension}"', database=name)
        async with join((dsns[0], dsns[1]), spool, TYPES + ddl, datasets, **options) as pipe:
            yield pipe
    finally:
        for server, name in zip(servers, names, strict=True):
            await server.drop_database(name)


async def abilities(servers: Servers) -> set[str]:
    """What a column may need that both servers have."""
    asked = {one.needs for one in COLUMNS} - {""}
    for server in servers:
        rows = await server.execute("select name from pg_available_extensions")
        versions = {str(version) for version in range(int(server.version) + 1)}
        asked &= {row["name"] for row in rows} | versions | await _xml(server)
    return asked


async def columns_for(servers: Servers, *, portable: bool) -> list[Column]:
    """The columns that both servers can have; with `portable` those whose binary form travels between them."""
    there = {"", *await abilities(servers)}
    columns = [one for one in COLUMNS if one.needs in there and (one.portable or not portable)]
    if portable and len({int(server.version) < INFINITE_INTERVALS for server in servers}) > 1:
        return [one for one in columns if not one.type.startswith("interval")]
    return columns


async def _xml(server: PostgresServer) -> set[str]:
    try:
        await server.execute("select '<a/>'::xml::text")
    except asyncpg.FeatureNotSupportedError:
        return set()
    return {"xml"}
