"""`nms doctor`: every obstacle has a code, a pointer into the document, and SQL that really mends it."""

import json
import socket
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from nms.common.settings import Settings
from tests.conftest import MakeDatabase, MakeServer
from tests.service.stage import PREPARE, TABLE, Stage, pipeline, without_password
from tests.services.postgres import PostgresServer
from tests.waiting import Stopwatch

CHILD = "create table public.child (id bigint primary key, item bigint)"
UNFIT = 3


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


async def examine(stage: Stage, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of `nms doctor items` and its findings by code."""
    watch = Stopwatch()
    answer = await stage.nms("doctor", "items", "--json", *words)
    assert watch.seconds() < 10
    assert answer.stdout, answer.stderr
    (one,) = json.loads(answer.stdout)
    return answer.exit_code, {finding["code"]: finding for finding in one["findings"]}


async def mend(stage: Stage, server: PostgresServer, finding: dict[str, Any]) -> None:
    """Run the finding's SQL in its system's database, as a superuser."""
    dsn = stage.source if finding["system"] == "source" else stage.target
    await stage.at(server.superuser_dsn(dsn.rpartition("/")[2]), finding["sql"])


@dataclass(frozen=True)
class Case:
    """What somebody did to one side, and what the doctor says of it."""

    code: str
    pointer: str
    side: str
    sql: str
    fatal: bool = True
    mends: bool = True
    parts: tuple[tuple[str, Any], ...] = ()


FIRST = "/datasets/0"


def absences() -> Iterable[Case]:
    """What is not there."""
    yield Case("schema-missing", "/target", "target", "drop schema nms cascade")
    yield Case("schema-missing", "/target", "target", "drop function nms.advance(text, bigint, jsonb)")
    yield Case("schema-missing", "/target", "target", "drop table nms.position")
    yield Case("schema-missing", "/target", "target", "alter table nms.position drop column layouts")
    yield Case("table-missing", f"{FIRST}/source", "source", "drop table public.item", mends=False)
    yield Case("table-missing", f"{FIRST}/target", "target", "drop table public.item")
    view = "drop table public.item; create view public.item as select 1::bigint as id, 'x'::text as name"
    yield Case("not-a-table", f"{FIRST}/source", "source", view, mends=False)
    yield Case("column-left-out", f"{FIRST}/fields", "target", "alter table public.item drop column name")
    named = (("datasets", [{"source": "public.item", "fields": {"id": "id", "nickname": "name"}}]),)
    yield Case("column-missing", f"{FIRST}/fields", "source", "select 1", mends=False, parts=named)
    renamed = (("datasets", [{"source": "public.item", "fields": {"id": "id", "name": "nickname"}}]),)
    yield Case("column-missing", f"{FIRST}/fields", "target", "select 1", parts=renamed)
    required = "alter table public.item add column origin text not null"
    yield Case("column-unfed", f"{FIRST}/fields", "target", required, mends=False)


def misfits() -> Iterable[Case]:
    """Types and keys that do not fit."""
    retyped = "alter table public.item alter column name type date using null"
    yield Case("type-differs", f"{FIRST}/fields", "target", retyped)
    price = "alter table public.item add column price numeric"
    yield Case("type-narrower", f"{FIRST}/fields", "both", f"{price}(12,4)|{price}(12,2)")
    yield Case(
        "type-narrower", f"{FIRST}/fields", "target", "alter table public.item alter name type varchar(9)", False
    )
    yield Case("key-missing", f"{FIRST}/target", "target", "alter table public.item drop constraint item_pkey")
    yield Case("no-key", f"{FIRST}/source", "source", "alter table public.item drop constraint item_pkey", False, False)
    yield Case("no-key", f"{FIRST}/source", "source", "alter table public.item replica identity nothing", False)
    by_name = (("datasets", [{"source": "public.item", "key": ["name"]}]),)
    unique = "create unique index on public.item (name)"
    yield Case("identity-differs", f"{FIRST}/key", "both", f"{unique}|{unique}", parts=by_name)
    yield Case("key-not-unique", f"{FIRST}/key", "target", unique, parts=by_name)
    nullable = f"{unique}; alter table public.item alter column name drop not null"
    yield Case("key-nullable", f"{FIRST}/key", "both", f"{nullable}|{unique}", parts=by_name)


def obstacles() -> Iterable[Case]:
    """What stands in the way of reading and writing."""
    yield Case("unlogged", f"{FIRST}/source", "source", "alter table public.item set unlogged")
    yield Case("unlogged", f"{FIRST}/target", "target", "alter table public.item set unlogged")
    yield Case("target-filled", f"{FIRST}/target", "target", "insert into public.item values (1, 'there')", False)
    trigger = (
        "create function public.note() returns trigger language plpgsql as 'begin return new; end';"
        "create trigger note before insert on public.item for each row execute function public.note()"
    )
    yield Case("triggers-fire", f"{FIRST}/target", "target", trigger, False, False)
    outer = "create table public.kind (id bigint primary key);"
    outer += "alter table public.item add column kind bigint references public.kind"
    yield Case("outer-reference", f"{FIRST}/target", "target", outer, False, False)
    tree = "alter table public.item add column parent bigint references public.item"
    yield Case("self-reference", f"{FIRST}/target", "target", tree, False)
    both = (("datasets", [{"source": "public.item"}, {"source": "public.child"}]),)
    circle = f"alter table public.item add column child bigint;{CHILD}"
    bonds = "alter table public.item add foreign key (child) references public.child;"
    bonds += "alter table public.child add foreign key (item) references public.item"
    yield Case("reference-circle", f"{FIRST}/target", "both", f"{circle}|{circle};{bonds}", parts=both)
    kept = (*both, ("initial", "none"))
    yield Case("reference-circle", f"{FIRST}/target", "both", f"{circle}|{circle};{bonds}", parts=kept)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{at}-{case.code}-{case.side}")
        for at, case in enumerate((*absences(), *misfits(), *obstacles()))
    ],
)
async def test_an_obstacle_is_named_and_its_sql_mends_it(stage: Stage, server: PostgresServer, case: Case) -> None:
    sides = (
        dict(zip(("source", "target"), case.sql.split("|"), strict=False)) if "|" in case.sql else {case.side: case.sql}
    )
    for side, sql in sides.items():
        await stage.at(side, sql)
    await stage.apply(*stage.systems(), {**pipeline(), **dict(case.parts)})
    code, found = await examine(stage)
    finding = found[case.code]
    assert (finding["pointer"], finding["fatal"]) == (case.pointer, case.fatal)
    assert code == (UNFIT if any(one["fatal"] for one in found.values()) else 0)
    assert bool(finding["sql"]) == case.mends
    assert finding["sql"] or finding["remedy"]
    if case.mends:
        await mend(stage, server, finding)
        _, found = await examine(stage)
        assert case.code not in found


@pytest.fixture
async def stranger(server: PostgresServer, stage: Stage) -> AsyncIterator[str]:
    """A login without any right, used for both systems."""
    login = f"stranger_{uuid.uuid4().hex[:8]}"
    databases = [dsn.rpartition("/")[2] for dsn in (stage.source, stage.target)]
    await server.execute(f"create role {login} login")
    for dsn in (stage.source, stage.target):
        await stage.at(dsn, "revoke all on schema public from public")
        await stage.at(dsn, f"revoke temporary on database {dsn.rpartition('/')[2]} from public")
    await server.execute(f"alter role {login} set default_transaction_read_only = on")
    yield login
    for database in databases:
        await server.execute(f"drop owned by {login}", database=database)
    await server.execute(f"drop role {login}")


async def test_a_login_without_rights_gets_the_grants_that_let_it_work(
    stage: Stage, server: PostgresServer, stranger: str
) -> None:
    dsns = {
        side: dsn.replace("//nms:", f"//{stranger}:")
        for side, dsn in (("source", stage.source), ("target", stage.target))
    }
    await stage.apply(*stage.systems(**dsns), pipeline())
    code, found = await examine(stage)
    rights = ("replication", "publication", "select", "write", "schema", "temporary")
    wanted = {"read-only", *(f"{right}-right" for right in rights)}
    assert code == UNFIT
    assert wanted <= set(found)
    (one,) = await stage.answer("doctor", "items")
    for finding in one["findings"]:
        if finding["fatal"]:
            await mend(stage, server, finding)
    assert await examine(stage) == (0, {})
    await stage.at("source", "insert into public.item values (1, 'with all rights')")
    async with stage.working():
        await stage.arrive("select id from public.item", [1])
        await stage.at("source", "update public.item set name = 'followed'")
        await stage.arrive("select name from public.item", ["followed"])
    stage_source = stage.source.rpartition("/")[2]
    await server.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1", stage_source
    )


async def test_row_security_that_hides_rows_is_refused(stage: Stage, server: PostgresServer, stranger: str) -> None:
    await stage.at("source", "alter table public.item enable row level security")
    await stage.at("source", f"grant select on public.item to {stranger}; grant usage on schema public to {stranger}")
    source = stage.source.replace("//nms:", f"//{stranger}:")
    await stage.apply(*stage.systems(source=source, target=stage.target), pipeline())
    _, found = await examine(stage)
    assert (found["row-security"]["fatal"], found["row-security"]["pointer"]) == (True, "/datasets/0/source")
    await mend(stage, server, found["row-security"])
    _, found = await examine(stage)
    assert "row-security" not in found


async def test_prepare_makes_the_schema_where_the_login_may_and_prints_it_where_not(
    stage: Stage, server: PostgresServer, stranger: str
) -> None:
    await stage.at("target", "drop schema nms cascade")
    await stage.begin()
    code, found = await examine(stage)
    assert (code, found["schema-missing"]["run_as"]) == (UNFIT, "login nms")
    prepared = await stage.nms("doctor", "items", "--prepare")
    assert (prepared.exit_code, "made schema nms of target" in prepared.stdout) == (0, True), prepared.output
    assert "made" not in (await stage.nms("doctor", "items", "--prepare")).stdout
    await stage.at("target", "drop schema nms cascade")
    await stage.apply(*stage.systems(target=stage.target.replace("//nms:", f"//{stranger}:")))
    refused = await stage.nms("doctor", "items", "--prepare")
    assert (refused.exit_code, "create schema if not exists nms" in refused.stdout) == (UNFIT, True)


async def test_the_sql_alone_is_what_psql_takes(stage: Stage, server: PostgresServer) -> None:
    await stage.at("target", "drop schema nms cascade; alter table public.item drop constraint item_pkey")
    await stage.begin()
    printed = await stage.nms("doctor", "items", "--sql")
    assert printed.exit_code == UNFIT
    assert "-- system target, run by login nms" in printed.stdout
    await stage.at("target", printed.stdout)
    assert await examine(stage) == (0, {})


async def test_a_pipeline_into_its_own_source_is_refused_under_two_addresses(stage: Stage) -> None:
    other = without_password(stage.source).replace("127.0.0.1", "localhost")
    (twin,) = stage.systems(target=other)
    await stage.apply(*stage.systems(source=stage.source), {**twin, "dsn": other}, pipeline())
    code, found = await examine(stage)
    assert (code, found["same-database"]["pointer"]) == (UNFIT, "/target")
    async with stage.working():
        halted = await stage.reach("halted")
    assert halted.problem is not None
    assert halted.problem["findings"][0]["code"] == "same-database"


async def test_a_slot_of_another_database_is_never_touched(stage: Stage, server: PostgresServer) -> None:
    there = stage.target.rpartition("/")[2]
    await server.execute("select pg_create_logical_replication_slot('nms_items', 'pgoutput')", database=there)
    await stage.begin()
    code, found = await examine(stage)
    assert (code, found["slot-taken"]["pointer"]) == (UNFIT, "/name")
    async with stage.working():
        await stage.reach("halted")
    rows = await server.execute("select database::text from pg_replication_slots where slot_name = 'nms_items'")
    assert [row[0] for row in rows] == [there]


async def test_a_server_that_does_not_answer_is_told_in_time(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], 1):
            dsn = f"postgresql://a@127.0.0.1:{port}/b"
            await stage.apply(*stage.systems(source=dsn, target=stage.target), pipeline())
            code, found = await examine(stage)
            assert (code, found["server-away"]["pointer"]) == (UNFIT, "/source")
            assert found["server-away"]["remedy"]


async def test_a_login_that_is_refused_and_a_secret_that_is_missing_are_findings(stage: Stage) -> None:
    stranger = stage.source.replace("//nms:", "//nobody_of_this_name:")
    await stage.apply(*stage.systems(source=stranger, target=stage.target), pipeline())
    code, found = await examine(stage)
    assert (code, list(found)) == (UNFIT, ["access-refused"])
    (source,) = stage.systems(source=stage.source)
    await stage.apply({**source, "password": "env://NO_SUCH_SECRET_HERE"}, *stage.systems(target=stage.target))
    code, found = await examine(stage)
    assert code == UNFIT
    assert "NO_SUCH_SECRET_HERE" in next(iter(found.values()))["sentence"]


@pytest.mark.xdist_group("slots of shared servers")
@pytest.mark.parametrize("server", ["18", "16", "15"], indirect=True)
async def test_a_pipeline_at_work_is_well_and_one_whose_slot_is_gone_is_not(
    stage: Stage, server: PostgresServer
) -> None:
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
        assert await examine(stage) == (0, {})
    await server.execute("select pg_drop_replication_slot('nms_items')")
    await stage.at("source", "drop publication nms_items")
    code, found = await examine(stage)
    assert (code, set(found)) == (UNFIT, {"slot-lost", "publication-gone"})


async def test_limits_of_a_server_are_told(settings: Settings, make_server: MakeServer) -> None:
    limits = {
        "wal_level": "logical", "max_replication_slots": "1", "max_wal_senders": "0",
        "max_slot_wal_keep_size": "64MB", "idle_replication_slot_timeout": "10min",
    }  # fmt: skip
    server = await make_server("18", durable=False, settings=limits)
    stage = await Stage.set(settings, await server.create_database(), await server.create_database())
    await server.execute("select pg_create_logical_replication_slot('taken', 'pgoutput')")
    await stage.begin()
    code, found = await examine(stage)
    assert code == UNFIT
    assert {code for code, one in found.items() if one["fatal"]} == {"slots-full", "senders-full"}
    assert {code for code, one in found.items() if not one["fatal"]} == {"slot-keep", "slot-idle"}
    assert (found["slot-keep"]["pointer"], found["slots-full"]["run_as"]) == ("/wal_budget", "a superuser")


async def test_everything_is_checked_when_nothing_is_named(stage: Stage) -> None:
    assert "There is no pipeline" in (await stage.nms("doctor")).stdout
    shared = [{**pipeline(name), "shared": True} for name in ("ant", "bee")]
    await stage.apply(*stage.systems(), *shared)
    answer = await stage.nms("doctor")
    assert (answer.exit_code, answer.stdout.count("nothing stands in its way")) == (0, 2)
    assert (await stage.nms("doctor", "absent")).exit_code == 1
    await stage.at("target", "alter table public.item drop constraint item_pkey")
    shown = await stage.nms("doctor", "ant")
    assert "SQL for target" in shown.stdout
    assert "at /datasets/0/target of the document" in shown.stdout


async def test_the_printed_preparation_is_what_the_file_says(stage: Stage) -> None:
    await stage.at("target", "drop schema nms cascade")
    await stage.begin()
    _, found = await examine(stage)
    assert found["schema-missing"]["sql"].startswith(PREPARE.read_text().rstrip())
    assert TABLE


async def test_prepare_lets_a_pipeline_go_on_that_halted_for_want_of_it_and_no_other(stage: Stage) -> None:
    await stage.at("target", "drop schema nms cascade")
    async with stage.working():
        await stage.begin()
        await stage.reach("halted")
        prepared = await stage.nms("doctor", "items", "--prepare")
        assert (prepared.exit_code, "items: resumed" in prepared.stdout) == (0, True), prepared.output
        await stage.reach("streaming")
        assert (await stage.nms("pause", "items")).exit_code == 0
        assert "resumed" not in (await stage.nms("doctor", "items", "--prepare")).stdout
        assert (await stage.get()).wanted == "paused"
