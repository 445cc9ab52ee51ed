"""Migrations are applied once, in order, whole or not at all, and say where they fail."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from nms.common.db.migrations import (
    LOCK_KEY,
    MigrationFailed,
    MigrationsBusy,
    RevisionChanged,
    RevisionMissing,
    State,
    downgrade,
    status,
    upgrade,
)
from nms.common.db.problems import DatabaseUnavailable, LockTimeout
from nms.common.db.revisions import RevisionRefused, create_revision, read_folder
from tests.conftest import MakeDatabase
from tests.service.databases import ask, tables, until


def write(folder: Path, version: int, up: str, down: str = "select 1;") -> Path:
    path = folder / f"{20260101000000 + version}_step_{version}.sql"
    path.write_text(f"-- name: up#\n{up}\n\n-- name: down#\n{down}\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, 1, "create table one (id int);", "drop table one;")
    write(tmp_path, 3, "create table three (id int);", "drop table three;")
    return tmp_path


@pytest.fixture
async def empty(make_database: MakeDatabase) -> str:
    return await make_database()


async def states(dsn: str, folder: Path) -> list[State]:
    return [revision.state for revision in await status(dsn, folder)]


async def test_everything_pending_is_applied_once(empty: str, folder: Path) -> None:
    assert await states(empty, folder) == [State.PENDING, State.PENDING]
    assert [step.version % 100 for step in await upgrade(empty, folder)] == [1, 3]
    assert await upgrade(empty, folder) == []
    assert await states(empty, folder) == [State.APPLIED, State.APPLIED]
    assert await tables(empty) == ["one", "three"]


async def test_looking_at_the_status_writes_nothing(empty: str, folder: Path) -> None:
    await status(empty, folder)
    assert await ask(empty, "select nspname from pg_namespace where nspname = 'aiosqlembic'") == []


async def test_runners_started_together_apply_everything_once(empty: str, folder: Path) -> None:
    write(folder, 4, "create table log (id serial); insert into log default values;")
    write(folder, 5, "insert into log default values; select pg_sleep(0.2);")
    applied = await asyncio.gather(*(upgrade(empty, folder) for _ in range(4)))
    assert sorted(len(steps) for steps in applied) == [0, 0, 0, 4]
    assert await ask(empty, "select count(*) from log") == [2]


async def test_processes_started_together_apply_everything_once(empty: str, folder: Path) -> None:
    root = folder / "databases"
    (root / "nms").mkdir(parents=True)
    (root / "nms" / "migrations").symlink_to(folder)
    write(folder, 4, "create table log (id serial); insert into log default values; select pg_sleep(0.5);")
    command = [sys.executable, "-m", "nms", "db", "up", "-d", "nms", "--folder", str(root), "--json"]
    environment = {**os.environ, "DB_NMS_DSN": empty}
    runners = [
        await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [(await runner.communicate())[0].decode() for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0]
    assert sorted(text.count('"version"') for text in outputs) == [0, 3]
    assert await ask(empty, "select count(*) from log") == [1]


async def test_a_runner_that_waits_does_not_stand_in_the_way_of_a_concurrent_index(empty: str, folder: Path) -> None:
    """With a blocking lock the index would wait for the waiter's snapshot, and the waiter for the index."""
    await upgrade(empty, folder)
    other = await asyncpg.connect(empty)
    await other.execute("select pg_advisory_lock($1)", LOCK_KEY)
    waiting = asyncio.create_task(upgrade(empty, folder))
    probe = "select 1 from pg_stat_activity where application_name = 'nms-migrations' and datname = current_database()"
    await until(empty, probe)
    await asyncio.wait_for(other.execute("create index concurrently on one (id)"), 90)
    assert not waiting.done()
    await other.close()
    assert await waiting == []


async def test_a_lock_held_too_long_is_a_problem(empty: str, folder: Path) -> None:
    other = await asyncpg.connect(empty)
    await other.execute("select pg_advisory_lock($1)", LOCK_KEY)
    with pytest.raises(MigrationsBusy):
        await upgrade(empty, folder, wait=0.3)
    await other.close()
    assert len(await upgrade(empty, folder)) == 2


async def test_a_table_lock_ends_the_revision_and_leaves_it_pending(
    empty: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.common.db.migrations.LOCK_TIMEOUT", "100ms")
    await upgrade(empty, folder)
    write(folder, 4, "alter table one add column note text;")
    other = await asyncpg.connect(empty)
    async with other.transaction():
        await other.execute("lock table one")
        with pytest.raises((MigrationFailed, LockTimeout), match="lock timeout"):
            await upgrade(empty, folder)
    await other.close()
    assert [step.version % 100 for step in await upgrade(empty, folder)] == [4]


async def test_a_failure_names_file_and_line_and_leaves_nothing_of_its_revision(empty: str, folder: Path) -> None:
    path = write(
        folder,
        4,
        "create table four (id int);\n\ninsert into four\nselect 1;\ncreate view b as\n  select ü,\n  nope from four;",
    )
    with pytest.raises(MigrationFailed) as caught:
        await upgrade(empty, folder)
    assert caught.value.detail.startswith(f"{path}:7: ")
    assert 'column "ü" does not exist' in caught.value.detail
    assert caught.value.statement.startswith("create view b")
    assert await tables(empty) == ["one", "three"]
    assert await states(empty, folder) == [State.APPLIED, State.APPLIED, State.PENDING]


async def test_an_error_without_a_position_names_the_line_its_statement_begins_on(empty: str, folder: Path) -> None:
    path = write(folder, 4, "select 1;\n-- why\n\ninsert into one\nselect 1 / 0;")
    with pytest.raises(MigrationFailed, match=f"{path.name}:5: division by zero"):
        await upgrade(empty, folder)


async def test_a_changed_file_is_refused_before_anything_is_written(empty: str, folder: Path) -> None:
    await upgrade(empty, folder)
    write(folder, 1, "create table one (id bigint);")
    write(folder, 4, "create table four (id int);")
    assert await states(empty, folder) == [State.CHANGED, State.APPLIED, State.PENDING]
    with pytest.raises(RevisionChanged, match="step_1"):
        await upgrade(empty, folder)
    assert await tables(empty) == ["one", "three"]


async def test_line_endings_and_the_way_down_may_be_mended_later(empty: str, folder: Path) -> None:
    await upgrade(empty, folder)
    path = write(folder, 1, "create table one (id int);", "drop table if exists one;")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert await upgrade(empty, folder) == []


async def test_a_file_that_was_merged_late_is_applied(empty: str, folder: Path) -> None:
    await upgrade(empty, folder)
    write(folder, 2, "create table two (id int);", "drop table two;")
    assert await states(empty, folder) == [State.APPLIED, State.LATE, State.APPLIED]
    (step,) = await upgrade(empty, folder)
    assert (step.version % 100, step.late) == (2, True)
    assert await tables(empty) == ["one", "three", "two"]
    assert await ask(empty, "select version_id % 100 from aiosqlembic.aiosqlembic order by id") == [0, 1, 2, 3]
    assert await upgrade(empty, folder) == []


async def test_the_newest_revisions_are_taken_back(empty: str, folder: Path) -> None:
    await upgrade(empty, folder)
    assert [step.version % 100 for step in await downgrade(empty, folder)] == [3]
    assert await tables(empty) == ["one"]
    assert [step.version % 100 for step in await downgrade(empty, folder, steps=5)] == [1]
    assert await downgrade(empty, folder) == []
    assert len(await upgrade(empty, folder)) == 2


async def test_what_cannot_be_taken_back_says_so(empty: str, folder: Path) -> None:
    last = write(folder, 4, "create table four (id int);", "")
    await upgrade(empty, folder)
    with pytest.raises(RevisionMissing, match="no way down"):
        await downgrade(empty, folder)
    last.unlink()
    assert (await states(empty, folder))[-1] is State.MISSING
    with pytest.raises(RevisionMissing, match="its file is not here"):
        await downgrade(empty, folder)


async def test_session_settings_of_a_revision_do_not_reach_the_next(empty: str, folder: Path) -> None:
    write(folder, 4, "set search_path = pg_catalog; set lock_timeout = 0;")
    write(folder, 5, "create table five as select current_setting('lock_timeout') as value;")
    await upgrade(empty, folder)
    assert await ask(empty, "select value from public.five") == ["10s"]


async def test_a_killed_runner_leaves_whole_revisions(empty: str, folder: Path) -> None:
    write(folder, 4, "create table four (id int);\nselect pg_sleep(60);")
    task = asyncio.create_task(upgrade(empty, folder))
    probe = "select pid from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()"
    (pid,) = await until(empty, probe)
    await ask(empty, f"select pg_terminate_backend({pid})")
    with pytest.raises(DatabaseUnavailable):
        await task
    assert await states(empty, folder) == [State.APPLIED, State.APPLIED, State.PENDING]
    assert await tables(empty) == ["one", "three"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("1_short.sql", "-- name: up#\nselect 1;", ":1: the name is not 14 digits"),
        ("20260101000001_other.sql", "-- name: up#\nselect 1;", "the same version"),
        ("20260101000009_x.sql", "select 1;", ":1: this stands before"),
        ("20260101000009_x.sql", "-- nothing", ":1: the piece `-- name: up#` is missing"),
        ("20260101000009_x.sql", "-- name: up#\n", ":1: there is no statement"),
        ("20260101000009_x.sql", "-- name: up#\nselect 1;\n-- name: up#\nselect 2;", ":3: a piece 'up#'"),
        ("20260101000009_x.sql", "-- name: upp#\nselect 1;", ":1: a piece 'upp#'"),
        ("20260101000009_x.sql", "-- name: up#\nselect 'a;", ":2: this string is never closed"),
        ("20260101000009_x.sql", "-- name: up#\nselect 1;\ncommit;", ":3: 'commit' would leave the transaction"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(folder: Path, name: str, text: str, why: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(RevisionRefused, match=why):
        read_folder(folder)


def test_a_new_revision_is_newer_than_every_other_and_can_be_read(folder: Path) -> None:
    early = datetime(2020, 1, 1, tzinfo=UTC)
    first = create_revision(folder, "Add the ThingTable, quickly!", now=early)
    assert first.name == "20260101000004_add_the_thing_table_quickly.sql"
    second = create_revision(folder, "more", now=datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert second.name == "20270203040506_more.sql"
    assert [revision.path for revision in read_folder(folder)][-2:] == [first, second]
