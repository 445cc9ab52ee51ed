"""Bad input: a problem with a pointer and a remedy before anything starts; no crash loop, no lost neighbour."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from nms.common.run import Run, RunRepository
from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.stage import TABLE, Stage, pipeline, without_password
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

GOOD = TABLE.replace("item", "good")


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    """A stage where the pipeline `good` is declared."""
    stage = await Stage.set(settings, await make_database(), await make_database())
    await stage.at("source", GOOD)
    await stage.at("target", GOOD)
    await stage.apply(*stage.systems(), pipeline("good", "public.good"))
    return stage


@pytest.fixture
async def working(stage: Stage) -> AsyncIterator[Stage]:
    """The pipeline `good` is at work, and still is after the test."""
    async with stage.working():
        await stage.reach("streaming", name="good")
        yield stage
        await stage.at("source", "insert into public.good values (1, 'goes on')")
        await stage.arrive("select id from public.good", [1])


def of(**parts: Any) -> dict[str, Any]:
    return {**pipeline("bad"), **parts}


def system(dsn: str, **parts: Any) -> dict[str, Any]:
    return {"kind": "system", "name": "bad", "type": "postgres", "dsn": dsn, **parts}


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        (of(captur="log"), "/documents/0/captur", "did you mean `capture`"),
        (of(datasets=[{"source": "public.item", "feilds": {}}]), "/documents/0/datasets/0/feilds", "did you mean"),
        (of(name="Bad_Name"), "/documents/0/name", "lower case"),
        (of(source="nowhere"), "/documents/0/source", "no system `nowhere`"),
        (of(target="source"), "/documents/0/target", "its own source"),
        (of(datasets=[{"source": "public.good"}]), "/documents/0/datasets/0/target", "`shared: true`"),
        (of(datasets=[]), "/documents/0/datasets", "at least 1"),
        (of(capture="pull"), "/documents/0/capture", "captured by `log`"),
        (of(wal_budget=True), "/documents/0/wal_budget", "size"),
        (system("postgresql:///bad?host=/var/run/postgresql"), "/documents/0/dsn", "host"),
        (system("postgresql://a@%2Fvar%2Frun/bad"), "/documents/0/dsn", "socket"),
        (system("postgresql://a@h/bad?sslcert=/etc/passwd"), "/documents/0/dsn", "`sslcert` is not allowed"),
        (system("postgresql://a@h/bad?options=-csession_preload_libraries=x"), "/documents/0/dsn", "not allowed"),
        (system("postgresql://a:plain@h/bad"), "/documents/0/dsn", "password does not stand in the DSN"),
        (system("postgresql://a@h/bad", password="plain"), "/documents/0/password", "env://"),
    ],
)  # fmt: skip
async def test_a_bad_document_is_refused_with_its_place_and_stores_nothing(
    stage: Stage, tmp_path: Path, document: dict[str, Any], pointer: str, words: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(document))
    answer = await stage.nms("apply", "-f", file, "--json")
    problem = json.loads(answer.stderr)
    assert (answer.exit_code, problem["code"], problem["status"]) == (1, "malformed", 422)
    (error,) = [error for error in problem["errors"] if error["pointer"] == pointer]
    assert words in error["detail"]
    assert "bad.yaml:" in error["detail"]
    assert problem["remedy"]
    assert [one["name"] for one in await stage.answer("pipelines")] == ["good"]


@dataclass(frozen=True)
class Case:
    """What is wrong on the servers, and how the pipeline `bad` tells it."""

    finding: str
    pointer: str
    sides: tuple[tuple[str, str], ...] = ()
    parts: dict[str, Any] = field(default_factory=dict)


def cases() -> Iterable[Case]:
    first = "/datasets/0"
    yield Case("table-missing", f"{first}/source", (("source", "drop table public.item"),))
    yield Case("table-missing", f"{first}/target", (("target", "drop table public.item"),))
    yield Case("column-left-out", f"{first}/fields", (("target", "alter table public.item drop column name"),))
    fields = {"datasets": [{"source": "public.item", "fields": {"id": "id", "nick": "name"}}]}
    yield Case("column-missing", f"{first}/fields", parts=fields)
    yield Case("key-missing", f"{first}/target", (("target", "alter table public.item drop constraint item_pkey"),))
    retyped = "alter table public.item alter column name type int using 0"
    yield Case("type-differs", f"{first}/fields", (("target", retyped),))
    yield Case("unlogged", f"{first}/source", (("source", "alter table public.item set unlogged"),))
    yield Case("select-right", f"{first}/source", (("source", "revoke select on public.item from nms"),))
    yield Case("write-right", f"{first}/target", (("target", "revoke insert on public.item from nms"),))


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{at}-{case.finding}") for at, case in enumerate(cases())])
async def test_what_the_servers_lack_halts_before_anything_starts(
    working: Stage, server: PostgresServer, case: Case
) -> None:
    for side, sql in case.sides:
        await working.at(side, sql)
    await working.apply(of(**case.parts))
    halted = await working.reach("halted", name="bad")
    problem = halted.problem
    assert problem is not None
    assert (problem["code"], problem["retry"]) == ("not-prepared", "never")
    assert case.finding in {finding["code"] for finding in problem["findings"]}
    assert case.pointer in {error["pointer"] for error in problem["errors"]}
    assert "nms doctor bad" in problem["remedy"]
    assert await of_source(server, "select slot_name from pg_replication_slots where slot_name = 'nms_bad'") == []
    assert await working.at("source", "select pubname from pg_publication where pubname = 'nms_bad'") == []
    assert await working.at("target", "select pipeline from nms.position where pipeline = 'bad'") == []
    shown = await working.nms("pipelines", "bad")
    assert (shown.exit_code, case.pointer in shown.stdout) == (3, True)
    assert await ended(1)


async def test_two_addresses_of_one_database_do_not_make_a_circle(working: Stage) -> None:
    alias = system(without_password(working.source).replace("127.0.0.1", "localhost"))
    await working.apply(alias, of(target="bad"))
    halted = await working.reach("halted", name="bad")
    assert halted.problem is not None
    assert halted.problem["findings"][0]["code"] == "same-database"


async def test_a_document_that_is_gone_or_mended_ends_the_trouble(working: Stage) -> None:
    await working.at("target", "drop table public.item")
    await working.apply(of())
    await working.reach("halted", name="bad")
    await working.at("target", TABLE)
    await working.at("source", "insert into public.item values (1, 'mended')")
    assert (await working.nms("resume", "bad")).exit_code == 0
    await working.arrive("select id from public.item", [1])


async def ended(count: int) -> bool:
    """Whether the pipeline was tried no more than so many times and its run has failed."""
    repository = await RunRepository.open()

    async def look() -> list[Run] | None:
        runs = await repository.list(kind="pipeline", subject="bad")
        return runs if all(run.state.ended for run in runs) else None

    return sum(run.attempts for run in await eventually(look)) == count


async def of_source(server: PostgresServer, sql: str) -> list[Any]:
    return [row[0] for row in await server.execute(sql)]
