"""Every value arrives as it was: over every capture, both forms, both ways of writing, every server version."""

from pathlib import Path

import pytest

from nms.common.db.quoting import quote_literal
from nms.common.flow import Applied, Batch, ChangeRefused
from nms.connectors.postgres.target import PostgresTarget
from tests.contract.fidelity.captures import CAPTURES, Capture, Settle
from tests.contract.fidelity.sample import COLUMNS, Sample, Servers, between, columns_for
from tests.contract.pipelines import Pipe, rows_of
from tests.services.shared import Session

VERSIONS = ("15", "16", "18")
PAIRS = [f"{left}-{right}" for left in VERSIONS for right in VERSIONS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not metafunc.definition.get_closest_marker("fuzz"):
        return
    long = metafunc.config.getoption("--hypothesis-profile") == "fuzz"
    cases = [pytest.param(pair, one, id=f"{pair}-{one}") for one in CAPTURES for pair in (PAIRS if long else one.quick)]
    metafunc.parametrize(("servers", "capture"), cases, indirect=["servers"])


@pytest.fixture
def servers(request: pytest.FixtureRequest, services: Session) -> Servers:
    """Source and target of a pair such as `15-18`."""
    left, right = request.param.split("-")
    return services.postgres(left), services.postgres(right)


def test_the_sample_is_as_wide_as_promised() -> None:
    everywhere = [one for one in COLUMNS if not one.needs]
    assert len(everywhere) >= 100
    assert sum(len(one.values) for one in everywhere) >= 400
    assert len({one.type for one in COLUMNS}) == len(COLUMNS)


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written in bulk: `bulk` for each batch, or the problem that sent it the other way."""
    told: list[str] = []
    bulk = PostgresTarget._bulk

    async def watched(target: PostgresTarget, batch: Batch) -> Applied:
        try:
            applied = await bulk(target, batch)
        except Exception as problem:
            told.append(repr(problem))
            raise
        told.append("bulk")
        return applied

    monkeypatch.setattr(PostgresTarget, "_bulk", watched)
    return told


async def _follow(pipe: Pipe, sample: Sample, settle: Settle) -> None:
    # Everything that can happen to a row while the pipeline runs, one by one and in bulk.
    for sql, rows in sample.steps():
        await pipe.source.execute(sql)
        await settle()
        assert await sample.compare(pipe) == rows, sql


@pytest.mark.fuzz
@pytest.mark.parametrize("form", ["binary", "text"])
async def test_values_arrive(servers: Servers, form: str, capture: Capture, folded: list[str], tmp_path: Path) -> None:
    sample = Sample(await columns_for(servers, portable=form == "binary"))
    async with between(servers, tmp_path, sample.ddl, ["t"], **capture.options) as pipe:
        await sample.fill(pipe.source)
        if capture.before:
            await pipe.source.execute(sample.insert())
        async with capture.moves(pipe) as (opened, settle):
            assert opened.text_form is (form == "text")
            await settle()
            assert await sample.compare(pipe) == (sample.rows if capture.before else 0)
            if not capture.before:
                await _follow(pipe, sample, settle)
    if capture.name == "log":
        assert folded == ["bulk"] * 3


LOSSY = {"double precision": "new.{0} + 0", "char(5)": "'ab'", "numeric(12, 3)": "null"}
LOSE = """
create function lose() returns trigger language plpgsql as $$ begin {0} return new; end $$;
create trigger lose before insert or update on t for each row execute function lose();
"""


@pytest.mark.parametrize("capture", CAPTURES, ids=str)
@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("servers", ["16-16"], indirect=True)
async def test_a_value_that_changes_on_its_way_is_seen(
    servers: Servers, form: str, capture: Capture, tmp_path: Path
) -> None:
    columns = await columns_for(servers, portable=form == "binary")
    sample = Sample(columns)
    names = {one.type: name for one, name in zip(columns, sample.names, strict=True)}
    lost = "".join(f"new.{names[kind]} = {lossy.format(names[kind])};" for kind, lossy in LOSSY.items())
    async with between(servers, tmp_path, sample.ddl, ["t"], **capture.options) as pipe:
        await sample.fill(pipe.source)
        await pipe.target.execute(LOSE.format(lost))
        if capture.before:
            await pipe.source.execute(sample.insert())
        async with capture.moves(pipe) as (_, settle):
            await settle()
            if not capture.before:
                await pipe.source.execute(sample.insert())
                await settle()
        with pytest.raises(AssertionError) as seen:
            await sample.compare(pipe)
    assert {line.partition(":")[0] for line in str(seen.value).splitlines() if " became " in line} == set(LOSSY)


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("servers", ["18-16"], indirect=True)
async def test_a_value_that_the_target_cannot_hold_is_refused_and_never_changed(
    servers: Servers, form: str, tmp_path: Path
) -> None:
    # To servers before 17 the bits of an infinite interval are a long finite one.
    ddl = "create table t (id integer primary key, v interval" + (", m mood[])" if form == "text" else ")")
    async with between(servers, tmp_path, ddl, ["t"]) as pipe:
        await pipe.source.execute("insert into t values (1, '1 day'), (2, '-infinity')")
        with pytest.raises(ChangeRefused, match="infinity"):
            await pipe.run("t")
        assert await rows_of(pipe.target, "t") == []


ODD_DEFAULTS = {
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kolkata",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "search_path": "pg_toast",
    "array_nulls": "off",
    "xmloption": "document",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
}


@pytest.mark.parametrize("ends", ["source", "target"])
@pytest.mark.parametrize("servers", ["15-15"], indirect=True)
async def test_values_arrive_whatever_a_database_has_as_its_defaults(
    servers: Servers, ends: str, tmp_path: Path
) -> None:
    sample = Sample(await columns_for(servers, portable=False))
    async with between(servers, tmp_path, sample.ddl, ["t"]) as pipe:
        await sample.fill(pipe.source)
        await pipe.source.execute(sample.insert())
        database = getattr(pipe, ends)
        name = await database.fetchval("select current_database()")
        for setting, value in ODD_DEFAULTS.items():
            await database.execute(f"alter database {name} set {setting} = {quote_literal(value)}")
        async with pipe.moves():
            await pipe.catch_up()
            assert await sample.compare(pipe) == sample.rows
            await pipe.source.execute("delete from t")
            await _follow(pipe, sample, pipe.catch_up)
