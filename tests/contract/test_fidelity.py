"""Every value arrives as it was: over every capture, both forms, both ways of writing, every server version."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nms.common.flow import Applied, Batch, ChangeRefused
from nms.connectors.postgres.target import PostgresTarget
from tests.contract.fidelity.sample import COLUMNS, Sample, Servers, between, columns_for
from tests.contract.pipelines import Pipe, rows_of
from tests.services.shared import Session

VERSIONS = ("15", "16", "18")
PAIRS = [f"{left}-{right}" for left in VERSIONS for right in VERSIONS]
QUICK = ["15-15", "15-16", "16-18", "18-15"]
"""Each version in each role, and one pair that both have XML and extensions; `make fuzz` takes all pairs."""


@dataclass(frozen=True)
class Capture:
    """How rows are taken from the source: what is there before the pipeline begins, and what it sees afterwards."""

    name: str
    before: bool
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


CAPTURES = (Capture("backfill", before=True), Capture("log", before=False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("fuzz"):
        long = metafunc.config.getoption("--hypothesis-profile") == "fuzz"
        metafunc.parametrize("servers", PAIRS if long else QUICK, indirect=True)


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


async def _follow(pipe: Pipe, sample: Sample) -> None:
    """Everything that can happen to a row while the pipeline runs, one by one and in bulk, compared after each."""
    source, steps = pipe.source, sample.steps()
    for sql, rows in steps:
        await source.execute(sql)
        await pipe.catch_up()
        assert await sample.compare(pipe) == rows, sql


@pytest.mark.fuzz
@pytest.mark.parametrize("capture", CAPTURES, ids=str)
@pytest.mark.parametrize("form", ["binary", "text"])
async def test_values_arrive(servers: Servers, form: str, capture: Capture, folded: list[str], tmp_path: Path) -> None:
    sample = Sample(await columns_for(servers, portable=form == "binary"))
    async with between(servers, tmp_path, sample.ddl, ["t"], **capture.options) as pipe:
        await sample.fill(pipe.source)
        if capture.before:
            await pipe.source.execute(sample.insert())
        async with pipe.moves() as opened:
            assert opened.text_form is (form == "text")
            await pipe.catch_up()
            assert await sample.compare(pipe) == (sample.rows if capture.before else 0)
            if not capture.before:
                await _follow(pipe, sample)
                assert folded == ["bulk"] * 3


LOSSY = """
create function lose() returns trigger language plpgsql as $$ begin new.{0} = {1}; return new; end $$;
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
    for kind, lossy in (("double precision", "new.{0} + 0"), ("char(5)", "'ab'"), ("numeric(12, 3)", "null")):
        name = sample.names[[one.type for one in columns].index(kind)]
        async with between(servers, tmp_path, sample.ddl, ["t"], **capture.options) as pipe:
            await sample.fill(pipe.source)
            await pipe.target.execute(LOSSY.format(name, lossy.format(name)))
            if capture.before:
                await pipe.source.execute(sample.insert())
            async with pipe.moves():
                await pipe.catch_up()
                if not capture.before:
                    await pipe.source.execute(sample.insert())
                    await pipe.catch_up()
            with pytest.raises(AssertionError, match=re.escape(f"{kind}: ")):
                await sample.compare(pipe)


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
