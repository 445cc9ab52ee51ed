"""A pipeline that polls, as an operator has it: documents, the doctor, a worker, and a source that may only be read."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.settings import Settings
from nms.sync.pipeline import adopt
from nms.sync.repository import SyncRepository
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

POLL = {"capture": "poll", "every": "100ms"}
NAMES = "select name from public.item order by id"
TRIGGERS = "select count(*) from pg_trigger where tgname like 'nms\\_%'"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


@pytest.fixture
async def reader(server: PostgresServer, stage: Stage) -> AsyncIterator[str]:
    """A DSN for a login that may read the table of the source, and nothing else."""
    login, database = f"reader_{uuid.uuid4().hex[:8]}", stage.source.rpartition("/")[2]
    await server.execute(f"create role {login} login")
    await stage.at("source", f"grant select on public.item to {login}")
    yield f"postgresql://{login}@127.0.0.1:{server.port}/{database}"
    await stage.at(server.superuser_dsn(database), f"drop owned by {login}")
    await server.execute(f"drop role {login}")


async def begin(stage: Stage, source: str, **parts: Any) -> None:
    await stage.apply(*stage.systems(source=source, target=stage.target), pipeline(**{**POLL, **parts}))


async def findings(stage: Stage, *words: str) -> dict[str, dict[str, Any]]:
    answer = await stage.nms("doctor", "items", "--json", *words)
    assert answer.stdout, answer.stderr
    return {finding["code"]: finding for finding in json.loads(answer.stdout)[0]["findings"]}


async def test_a_source_that_may_only_be_read_is_polled(stage: Stage, reader: str) -> None:
    await stage.at("source", "insert into public.item select n, 'old' from generate_series(1, 30) n")
    await begin(stage, reader)
    found = await findings(stage)
    assert list(found) == ["deletes-unseen"]
    assert not found["deletes-unseen"]["fatal"]
    async with stage.working():
        await stage.arrive(NAMES, ["old"] * 30)
        await stage.at(
            "source", "update public.item set name = 'new' where id = 1; insert into public.item values (0, 'x')"
        )
        await stage.arrive(NAMES, ["x", "new"] + ["old"] * 29)
        standing = await stage.reach("streaming")
        assert standing.status["tables"]["public.item"]["by"] == "scan"
        assert (await stage.nms("pipelines", "items")).exit_code == 0


async def test_the_sql_of_the_doctor_makes_the_change_log_and_it_goes_with_its_pipeline(
    stage: Stage, reader: str, server: PostgresServer
) -> None:
    await stage.at("source", "insert into public.item select n, 'old' from generate_series(1, 5) n")
    await begin(stage, reader, change_log=True)
    found = await findings(stage, "--prepare")
    assert found["change-log-missing"]["fatal"]
    await stage.at("source", found["change-log-missing"]["sql"])
    assert await findings(stage) == {}
    async with stage.working():
        await stage.arrive(NAMES, ["old"] * 5)
        await stage.at("source", "delete from public.item where id > 1")
        await stage.arrive(NAMES, ["old"])
        assert await stage.at("source", TRIGGERS) == [4]
        drafts = [Draft(each) for each in stage.systems()]
        await apply_changeset(await DocumentRepository.open(), Changeset(drafts, author="test", prune=True))
        await adopt(await SyncRepository.open())

        async def gone() -> bool:
            return await stage.at("source", TRIGGERS) == [0]

        await eventually(gone)


async def test_prepare_makes_the_change_log_and_unprepare_removes_all_of_it(stage: Stage) -> None:
    await begin(stage, stage.source, change_log=True)
    assert await findings(stage, "--prepare") == {}
    assert await stage.at("source", TRIGGERS) == [4]
    answer = await stage.nms("doctor", "items", "--unprepare")
    assert answer.exit_code == 0, answer.stderr
    assert await stage.at("source", TRIGGERS) == [0]
    assert await stage.at("source", "select count(*) from pg_namespace where nspname = 'nms'") == [0]


async def test_a_pipeline_may_change_from_the_log_to_polling_and_back(stage: Stage) -> None:
    slots = f"select count(*) from pg_replication_slots where database = '{stage.source.rpartition('/')[2]}'"
    await stage.at("source", "insert into public.item values (1, 'a')")
    async with stage.working():
        await stage.begin()
        await stage.arrive(NAMES, ["a"])
        await begin(stage, stage.source)
        await stage.at("source", "delete from public.item; insert into public.item values (2, 'b')")
        await stage.arrive(NAMES, ["b"])
        await stage.reach("streaming")
        assert await stage.at("source", slots) == [0]
        await stage.begin()
        await stage.at("source", "delete from public.item; insert into public.item values (3, 'c')")
        await stage.arrive(NAMES, ["c"])


CASES: list[tuple[str, str, bool, str | None, str]] = [
    ("cursor-unfit", "/datasets/0/cursor", True, "name", "select 1"),
    ("cursor-unfit", "/datasets/0/cursor", True, "absent", "select 1"),
    ("cursor-unindexed", "/datasets/0/cursor", False, "n", "alter table public.item add n bigint"),
    ("cursor-guess", "/datasets/0/cursor", False, "id", "select 1"),
    ("cursor-unfed", "/datasets/0/cursor", False, "x", "alter table public.item add x xid8"),
    ("no-key", "/datasets/0/source", True, None, "alter table public.item drop constraint item_pkey"),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{one[0]}-{one[3]}" for one in CASES])
async def test_what_a_poll_cannot_see_is_told(stage: Stage, case: tuple[str, str, bool, str | None, str]) -> None:
    code, pointer, fatal, cursor, sql = case
    await stage.at("source", sql)
    mapping = {"source": "public.item", "fields": {"id": "id", "name": "name"}}
    await begin(stage, stage.source, datasets=[mapping if cursor is None else {**mapping, "cursor": cursor}])
    found = await findings(stage)
    assert (found[code]["pointer"], found[code]["fatal"]) == (pointer, fatal)
    if found[code]["sql"]:
        await stage.at("source", found[code]["sql"])
        assert code not in await findings(stage)
