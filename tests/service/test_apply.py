"""What the target's constraints allow the source, they allow the pipeline, whichever way a batch is written."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nms.connectors.postgres import target, transactions
from tests.contract.pipelines import MakeDatabase, lay

BIG = "repeat(md5({}::text), 200)"
LONG = "t" * 63


@dataclass(frozen=True)
class Scene:
    """Tables, rows that are there before, source transactions, and how the target differs."""

    ddl: str
    tables: tuple[str, ...]
    before: str
    transactions: tuple[str, ...]
    target: str = ""
    compared: tuple[str, ...] = field(default=())


SCENES = {
    "several tables with foreign keys are truncated together": Scene(
        "create table p (id int primary key); create table c (id int primary key, p int references p);"
        "create table o (id int primary key)",
        ("c", "p", "o"),
        "insert into p select generate_series(1, 500); insert into c select n, n from generate_series(1, 500) n;"
        "insert into o values (1)",
        (
            "truncate p, c; insert into p values (7); insert into c values (7, 7)",
            "insert into o values (2); truncate p cascade; insert into p select generate_series(1, 450);"
            "insert into c select n, n from generate_series(1, 450) n",
        ),
    ),
    "unique values are swapped": Scene(
        "create table t (id int primary key, u int unique)",
        ("t",),
        "insert into t select n, n from generate_series(1, 600) n",
        (
            "update t set u = -u; update t set u = 601 + u",
            "update t set u = 0 where id = 1; update t set u = 600 where id = 600; update t set u = 1 where id = 1",
            "delete from t where id = 5; insert into t select 605, 601 - 5; update t set id = 5 where id = 605",
        ),
    ),
    "keys are swapped": Scene(
        "create table t (id int primary key, v text)",
        ("t",),
        "insert into t select n, n from generate_series(1, 500) n",
        ("update t set id = -id; update t set id = 501 + id", "update t set id = id + 1000 where id % 2 = 0"),
    ),
    "a table refers to itself": Scene(
        "create table t (id int primary key, up int references t)",
        ("t",),
        "insert into t select n, nullif(n / 2, 0) from generate_series(1, 600) n",
        (
            "insert into t select n, n / 2 from generate_series(601, 1300) n",
            "update t set up = 1 where id > 700; delete from t where id between 750 and 1300",
            "insert into t values (2001, null), (2000, 2001); update t set up = 2000 where id = 3",
        ),
    ),
    "children come before their parents where the constraint is deferred": Scene(
        "create table p (id int primary key, u int unique);"
        "create table c (id int primary key, p int references p deferrable initially deferred)",
        ("c", "p"),
        "insert into p values (1, 1), (2, 2)",
        (
            "insert into c select n, n from generate_series(10, 600) n;"
            "insert into p select n, n from generate_series(10, 600) n;"
            "update p set u = -1 where id = 1; update p set u = 1 where id = 2; update p set u = 2 where id = 1",
            "delete from p where id = 20; delete from c where p = 20",
        ),
    ),
    "keys move while big values stay as they are": Scene(
        "create table t (id int primary key, v text, big text); alter table t alter big set storage external",
        ("t",),
        f"insert into t select n, 'v', {BIG.format('n')} from generate_series(1, 500) n",
        (
            "update t set id = id + 1000, v = 'moved'",
            "update t set v = 'again' where id < 1400; update t set id = id - 1000",
            "update t set v = v || '!', big = null where id % 5 = 0; update t set v = 'last' where id % 7 = 0",
            f"delete from t where id = 1; insert into t values (1, 'new', {BIG.format(1)});"
            " update t set v = 'n' where id = 1",
        ),
    ),
    "the log has whole rows": Scene(
        "create table t (id int primary key, v text, big text); alter table t alter big set storage external;"
        "alter table t replica identity full",
        ("t",),
        f"insert into t select n, 'v', {BIG.format('n')} from generate_series(1, 500) n",
        (
            "update t set id = id + 1000, v = null",
            "update t set v = 'x' where id % 2 = 0; delete from t where id % 3 = 0",
        ),
    ),
    "the log names rows by another index than the primary key": Scene(
        "create table t (id int primary key, code text not null, tenant int not null, v text);"
        "create unique index by_code on t (tenant, code); alter table t replica identity using index by_code",
        ("t",),
        "insert into t select n, 'c' || n, n % 3, 'v' from generate_series(1, 500) n",
        (
            "update t set v = 'w', id = id + 5000 where id < 300",
            "update t set code = 'k' || id",
            "delete from t where id % 4 = 0",
        ),
    ),
    "a table is partitioned": Scene(
        "create table t (id int, region text, v text, primary key (id, region)) partition by list (region);"
        "create table t_a partition of t for values in ('a'); create table t_b partition of t default",
        ("t",),
        "insert into t select n, case when n % 2 = 0 then 'a' else 'b' end, 'v' from generate_series(1, 500) n",
        (
            "update t set region = 'b' where id < 200",
            "delete from t where id % 3 = 0; update t set v = 'w'",
            "truncate t; insert into t values (1, 'a', 'b')",
        ),
    ),
    "names are long and quoted": Scene(
        'create schema "Odd ""schema";'
        f'create table "Odd ""schema"."{LONG}" ("Key; --" int primary key, "a ""b""" text, "{LONG}" text)',
        (f'"Odd ""schema"."{LONG}"',),
        f'insert into "Odd ""schema"."{LONG}" select n, \'v\', \'w\' from generate_series(1, 500) n',
        (
            f'update "Odd ""schema"."{LONG}" set "a ""b""" = \'x\' where "Key; --" < 450',
            f'delete from "Odd ""schema"."{LONG}" where "Key; --" % 3 = 0',
        ),
    ),
    "a table has only key columns": Scene(
        "create table t (a int, b text, primary key (a, b))",
        ("t",),
        "insert into t select n, 'v' from generate_series(1, 500) n",
        (
            "update t set b = 'w' where a < 450",
            "delete from t where a % 3 = 0; insert into t values (3, 'v'), (3, 'w')",
        ),
    ),
    "columns are generated and identities": Scene(
        "create table t (id int generated always as identity primary key, a int,"
        " twice int generated always as (a * 2) stored, serial bigint generated by default as identity, big text);"
        "alter table t alter big set storage external",
        ("t",),
        f"insert into t (a, big) select n, {BIG.format('n')} from generate_series(1, 500) n",
        (
            f"insert into t (a, big) select n, {BIG.format('n')} from generate_series(501, 1000) n",
            "update t set a = a + 1",
            "delete from t where a % 3 = 0; update t set a = 0, big = 'small' where id < 300",
        ),
    ),
}


@pytest.fixture(params=["exact", "bulk", "spooled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How batches are written: change by change, folded and staged, or from the spool in parts."""
    if request.param == "exact":
        monkeypatch.setattr(target, "EXACT_LIMIT", 1_000_000)
    else:
        monkeypatch.setattr(target, "EXACT_LIMIT", 0)
    if request.param == "spooled":
        monkeypatch.setattr(transactions, "LARGE_BYTES", 0)
    return str(request.param)


@pytest.mark.parametrize("scene", SCENES.values(), ids=[name.replace(" ", "-") for name in SCENES])
async def test_the_target_follows(scene: Scene, way: str, make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay(make_database, tmp_path, scene.ddl, scene.tables) as pipe:
        await pipe.source.execute(scene.before)
        await pipe.run(*scene.tables)
        for transaction in scene.transactions:
            await pipe.source.execute(transaction)
        await pipe.run(*scene.tables)
