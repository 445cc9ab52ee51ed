"""Only rows that meet a filter are at the target, whatever moves them into it or out of it."""

from pathlib import Path
from typing import Any

import pytest

from nms.common.condition import conditions_of
from nms.common.flow import DatasetSpec
from tests.contract.pipelines import MakeDatabase, Pipe, lay

TABLE = """
create type mood as enum ('sad', 'ok', 'happy');
create table t (
    id int primary key, status text, amount numeric(8, 2), seen timestamptz, mood mood, big text, v int default 0
);
alter table t alter big set storage external;
alter table t replica identity full
"""
WHERE: dict[str, Any] = {"status": ["active", "trial"], "amount": {"gte": 10, "lt": 100}}
SQL = "status in ('active', 'trial') and amount >= 10 and amount < 100"


def filtered(where: dict[str, Any], name: str = "public.t", **parts: Any) -> DatasetSpec:
    return DatasetSpec(name, name, where=conditions_of(where), **parts)


async def compare(pipe: Pipe, condition: str, columns: str = "*", table: str = "t") -> int:
    """Fail unless the target has just the rows of the source that meet a condition; gives how many."""
    there = await pipe.target.fetch(f"select t::text from (select * from {table}) t order by 1")
    here = await pipe.source.fetch(
        f"select t::text from (select {columns} from {table} where {condition}) t order by 1"
    )
    assert [row[0] for row in there] == [row[0] for row in here]
    return len(here)


@pytest.mark.parametrize("identity", ["full", "default"])
async def test_rows_move_into_a_filter_and_out_of_it(
    make_database: MakeDatabase, tmp_path: Path, identity: str
) -> None:
    ddl = f"create table t (id int primary key, kind int, v int); alter table t replica identity {identity}"
    async with lay(make_database, tmp_path, ddl, [filtered({"kind": {"gt": 5}})]) as pipe:
        await pipe.source.execute("insert into t select n, n % 10, 0 from generate_series(1, 100) n")
        async with pipe.moves():
            await pipe.catch_up()
            assert await compare(pipe, "kind > 5") == 40
            await pipe.source.execute("update t set kind = 10 - kind, v = 1 where id % 3 = 0")
            await pipe.source.execute("update t set kind = null where id % 7 = 0; delete from t where id % 11 = 0")
            await pipe.source.execute("update t set id = id + 1000 where id % 5 = 0")
            await pipe.source.execute("update t set id = id + 500, kind = 10 - kind where id % 13 = 0")
            await pipe.source.execute("insert into t values (-1, 6, 0), (-2, 5, 0), (-3, null, 0)")
            await pipe.catch_up()
            assert await compare(pipe, "kind > 5") > 10
            await pipe.source.execute("truncate t; insert into t values (1, 9, 9), (2, 1, 1)")
            await pipe.catch_up()
            assert await compare(pipe, "kind > 5") == 1
