"""A target writes what arrives as it was: every type in both forms, behind its fence, on every server version."""

from pathlib import Path

import pytest

from nms.connectors.postgres import snapshot, target, transactions
from nms.connectors.postgres.problems import FenceRaised, NotPrepared
from tests.contract.pipelines import MakeDatabase, join, lay
from tests.services.shared import Session

BOTH = "create type mood as enum ('sad', 'happy'); create domain small as int check (value < 100);"
KINDS = (
    "smallint", "int", "bigint", "numeric", "numeric(12, 3)", "real", "float8", "bool", "text", "varchar(20)",
    "char(5)", '"char"', "name", "bytea", "date", "time", "timetz", "timestamp", "timestamptz", "interval",
    "uuid", "json", "jsonb", "inet", "cidr", "macaddr", "bit(5)", "varbit", "point", "box", "path",
    "polygon", "circle", "line", "lseg", "money",
    "int4range", "tstzrange", "nummultirange", "tsvector", "pg_lsn", "int[]", "text[]", "timestamptz[]",
    "mood", "small",
)  # fmt: skip
VALUES = {
    "smallint": "-32768", "int": "2147483647", "bigint": "-9223372036854775808",
    "numeric": "'NaN'", "numeric(12, 3)": "123456789.100", "real": "'-Infinity'", "float8": "0.1 + 0.2", "bool": "true",
    "text": "E'tab\\t nl\\n \\\\ quote'' ünï ' || chr(128512)", "varchar(20)": "''", "char(5)": "'ab'", '"char"': "'x'",
    "name": "'n'", "bytea": r"'\x00ff5c'", "date": "'4714-11-24 BC'", "time": "'24:00'",
    "timetz": "'12:00:00.123456+05:30'",
    "timestamp": "'infinity'",
    "timestamptz": "'2026-03-29 02:30:00.123456+02'",
    "interval": "'1 year -2 mons 3 days -04:05:06.7'",
    "uuid": "'00000000-0000-0000-0000-00000000000f'",
    "json": "'{\"b\": 1, \"a\":  [1.0]}'",
    "jsonb": "'{\"b\": 1e400, \"a\": null}'",
    "inet": "'::1/64'", "cidr": "'10.0.0.0/8'", "macaddr": "'08:00:2b:01:02:03'",
    "bit(5)": "B'10101'", "varbit": "B'1'",
    "point": "'(1,2)'", "box": "'(1,2),(3,4)'",
    "path": "'[(1,2),(3,4)]'", "polygon": "'((0,0),(1,1),(1,0))'",
    "circle": "'<(1,2),3>'", "line": "'{1,2,3}'", "lseg": "'[(1,2),(3,4)]'", "money": "-12345.67",
    "int4range": "'empty'",
    "tstzrange": "'[2026-01-01,)'", "nummultirange": "'{[1,2),(3,4]}'", "tsvector": "'a:1A b:2'",
    "pg_lsn": "'16/B374D848'", "int[]": "'[0:1][1:2]={{1,null},{3,4}}'",
    "text[]": "array['a,b', null, 'null', '', '\"']", "timestamptz[]": "array['2026-01-01 00:00+00'::timestamptz]",
    "mood": "'happy'", "small": "99",
}  # fmt: skip
DDL = BOTH + "create table t (id int primary key, " + ", ".join(f"c{at} {kind}" for at, kind in enumerate(KINDS)) + ")"
TEXT_FORM = "; alter table t add column moods mood[] default '{sad,happy}'"
FILLED = ", ".join(VALUES[kind] if kind not in ("money",) else f"({VALUES[kind]})::numeric::money" for kind in KINDS)
EMPTY = ", ".join("null" for _ in KINDS)
COLUMNS = "id, " + ", ".join(f"c{at}" for at in range(len(KINDS)))


@pytest.fixture(params=["exact", "bulk", "spooled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How batches are written."""
    if request.param != "exact":
        monkeypatch.setattr(target, "EXACT_LIMIT", 0)
    if request.param == "spooled":
        monkeypatch.setattr(transactions, "LARGE_BYTES", 0)
    return str(request.param)


def write_rows(full: int, empty: int) -> str:
    """One row with every value and one with none."""
    return f"insert into t ({COLUMNS}) values ({full}, {FILLED}), ({empty}, {EMPTY})"


@pytest.mark.parametrize("form", ["binary", "text"])
async def test_values_of_every_type_arrive_as_they_were(
    form: str, way: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, DDL + (TEXT_FORM if form == "text" else ""), ["t"]) as pipe:
        await pipe.source.execute(write_rows(1, 2))
        async with pipe.moves() as opened:
            assert opened.text_form is (form == "text")
            await pipe.catch_up()
            await pipe.compare("t")
            await pipe.source.execute(write_rows(3, 4))
            await pipe.source.execute("update t set c8 = c8 || '!', c1 = 5 where id in (1, 2, 3)")
            await pipe.source.execute("update t set id = id + 10; delete from t where id = 14")
            await pipe.catch_up()
        await pipe.compare("t")
        assert await pipe.target.fetchval("select count(*) from t") == 3


KEYS = {
    "text": "n::text || E'''\\\\'", "uuid": "md5(n::text)::uuid",
    "timestamptz": "'2026-01-01'::timestamptz + n * interval '1 s'",
    "numeric": "n / 7.0", "bytea": "decode(md5(n::text), 'hex')", "date": "'2000-01-01'::date + n", "float8": "n / 3.0",
    "char(8)": "n", "inet": "'10.0.0.0'::inet + n", "mood": "case when n % 2 = 0 then 'sad' else 'happy' end::mood",
    "interval": "n * interval '1 min'", "bool": "n % 2 = 0", '"char"': "chr(32 + n % 90)::\"char\"",
}  # fmt: skip


async def test_keys_of_every_type_bound_chunks(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(snapshot, name, 7)
    tables = {f"k{at}": kind for at, kind in enumerate(KEYS)}
    ddl = BOTH + "".join(f"create table {name} (k {kind}, n int, primary key (k, n));" for name, kind in tables.items())
    async with lay(make_database, tmp_path, ddl, list(tables)) as pipe:
        for name, kind in tables.items():
            await pipe.source.execute(f"insert into {name} select {KEYS[kind]}, n from generate_series(1, 30) n")
        await pipe.run(*tables)
        assert pipe.loads >= 4 * len(tables)
        assert pipe.copied == 30 * len(tables)


async def test_a_writer_of_an_older_epoch_changes_nothing(
    way: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    ddl = "create table t (id int primary key); create table u (id int primary key)"
    async with lay(make_database, tmp_path, ddl, ["t", "u"]) as pipe:
        await pipe.source.execute("insert into t values (1)")
        async with pipe.steps() as steps:
            while pipe.copying:
                batch = await steps.next()
                await pipe.target.execute("update nms.position set epoch = epoch + 1")
                with pytest.raises(FenceRaised):
                    await steps.opened.target.apply(batch)
                await pipe.target.execute("update nms.position set epoch = epoch - 1")
                await steps.apply(batch)
            await pipe.source.execute("insert into t values (2); insert into u values (2)")
            while not (batch := await steps.next()).changes and batch.small is not None:
                await steps.apply(batch)
            await pipe.target.execute("update nms.position set epoch = epoch + 1")
            with pytest.raises(FenceRaised):
                await steps.opened.target.apply(batch)
        assert await pipe.target.fetchval("select array_agg(id) from t") == [1]
        assert await pipe.target.fetchval("select count(*) from u") == 0


async def test_an_identity_that_cannot_be_updated_is_told_before_anything_starts(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    ddl = "create table t (id int primary key, n int generated always as identity)"
    async with lay(make_database, tmp_path, ddl, ["t"]) as pipe:
        with pytest.raises(NotPrepared, match="generated always"):
            await pipe.run("t")
        await pipe.target.execute("alter table t alter n set generated by default")
        await pipe.run("t")


VERSIONS = ("15", "16", "18")


@pytest.mark.parametrize("left", VERSIONS)
@pytest.mark.parametrize("right", VERSIONS)
async def test_servers_of_different_versions_understand_each_other(
    left: str, right: str, services: Session, tmp_path: Path
) -> None:
    source, receiver = services.postgres(left), services.postgres(right)
    ddl = "create table t (id int primary key, v text, big text); alter table t alter big set storage external"
    names = [await source.create_database(), await receiver.create_database()]
    try:
        async with join((names[0], names[1]), tmp_path, ddl, ["t"]) as pipe:
            database = names[0].rsplit("/", 1)[1]
            await pipe.source.execute(f"alter database {database} set logical_decoding_work_mem = '64kB'")
            await pipe.source.execute("insert into t select n, 'v', repeat('x', 3000) from generate_series(1, 500) n")
            async with pipe.moves():
                await pipe.until(lambda: pipe.place > 0)
                await pipe.source.execute("update t set v = 'w' where id < 50; update t set id = -id where id < 10")
                await pipe.catch_up()
                async with pipe.source.transaction():
                    await pipe.source.execute("insert into t select n, 'n', null from generate_series(501, 3000) n")
                    savepoint = pipe.source.transaction()
                    await savepoint.start()
                    await pipe.source.execute("delete from t")
                    await savepoint.rollback()
                await pipe.source.execute("delete from t where id % 3 = 0")
                await pipe.catch_up()
            await pipe.compare("t")
            await pipe.source.execute("truncate t; insert into t values (1)")
            await pipe.run("t")
    finally:
        for server, dsn in zip((source, receiver), names, strict=True):
            await server.drop_database(dsn.rsplit("/", 1)[1])
