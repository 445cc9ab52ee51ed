"""Every table arrives as it was, whatever its key, its name, its shape, and what its rows hold on to."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nms.connectors.postgres import snapshot, target
from tests.contract.fidelity.bonds import BOND_STORIES
from tests.contract.fidelity.captures import CAPTURES, Capture
from tests.contract.fidelity.keys import KEY_STORIES
from tests.contract.fidelity.own import TYPES
from tests.contract.fidelity.shapes import SHAPE_STORIES
from tests.contract.fidelity.story import Story
from tests.contract.pipelines import MakeDatabase, Pipe, lay
from tests.services.postgres import PostgresServer

QUICK = (("exact", "binary"), ("bulk", "text"))
"""Each way and each form; `make fuzz` takes each way in each form."""
FOLLOWING = [one for one in CAPTURES if not one.before]
"""Those that see what follows; `make test` tells all stories to the log, `make fuzz` to each."""
STORIES = (*KEY_STORIES, *SHAPE_STORIES, *BOND_STORIES)


async def _compare(pipe: Pipe, story: Story, step: str) -> None:
    names = [one if isinstance(one, str) else one.source for one in story.tables]
    await _show(pipe, story.shown or [(f"select t::text from {name} t order by 1",) * 2 for name in names], step)


async def _show(pipe: Pipe, shown: Iterable[tuple[str, str]], step: str) -> None:
    for here, there in shown:
        left, right = await pipe.source.fetch(here), await pipe.target.fetch(there)
        differing = {tuple(row) for row in left} ^ {tuple(row) for row in right}
        assert not differing, (step, there, len(left), len(right))
        assert len(left) == len(right)


@dataclass(frozen=True)
class Case:
    """A story, how it is written, and in which form its values travel."""

    story: Story
    capture: Capture
    way: str
    form: str

    def __str__(self) -> str:
        return f"{self.story}-{self.capture}-{self.way}-{self.form}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    long = metafunc.config.getoption("--hypothesis-profile") == "fuzz"
    ways = [(way, form) for way in ("exact", "bulk") for form in ("binary", "text")] if long else QUICK
    told = [story for story in STORIES if long or not story.long]
    cases = [
        Case(story, capture, way, form)
        for capture in FOLLOWING for story in told for way, form in ways
        if story.form in ("", form) and capture.name in story.captures and (long or capture.name == "log")
    ]  # fmt: skip
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases, ids=str)


@pytest.mark.fuzz
async def test_tables_arrive(
    case: Case, make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, form = case.story, case.form
    if case.way == "bulk":
        monkeypatch.setattr(target, "EXACT_LIMIT", 0)
    # One column that has no portable binary form brings the whole pipeline into text form.
    ddl = TYPES + story.ddl + ("; create table forms (id int primary key, m mood[])" if form == "text" else "")
    tables = [*story.tables, "forms"] if form == "text" else story.tables
    async with lay(make_database, tmp_path, ddl, tables, **case.capture.options, **story.options) as pipe:
        await pipe.source.execute(story.source or "select")
        await pipe.target.execute(story.target or "select")
        await pipe.source.execute(story.there or "select")
        async with case.capture.moves(pipe) as (opened, settle):
            assert opened.text_form is (form == "text")
            await settle()
            await _compare(pipe, story, story.there)
            for sql in story.steps:
                await pipe.source.execute(sql)
                await settle()
                await _compare(pipe, story, sql)
        await _show(pipe, story.ended, "the end")


@pytest.mark.parametrize("server", ["15"], indirect=True)
async def test_keys_whose_operators_stand_in_a_schema_of_their_own_bound_chunks(
    server: PostgresServer, make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIRST_ROWS", "_UNKNOWN_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(snapshot, name, 7)
    ddl = "create schema apart; create extension citext schema apart; create domain word as apart.citext;"
    ddl += "create table t (k apart.citext primary key, v text); create table u (n int, k word, primary key (k, n))"
    async with lay(make_database, tmp_path, ddl, ["t", "u"]) as pipe:
        letters = "select chr(case when n % 2 = 0 then 65 else 97 end + n) from generate_series(0, 25) n"
        await pipe.source.execute(
            f"insert into t {letters}; insert into u (k, n) select l, 1 from ({letters}) as t (l)"
        )
        await pipe.run("t", "u")
        assert pipe.copied == 52
        async with pipe.moves():
            await pipe.source.execute(
                "update t set v = k where k < 'g'; update t set k = upper(k); delete from u where k > 'P'"
            )
            await pipe.catch_up()
        await pipe.compare("t", "u")
