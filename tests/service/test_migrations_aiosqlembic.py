"""The real aiosqlembic and our runner read what the other wrote, and go on where the other stopped.

It pins pydantic 1, so that it lives in an environment of its own under `.cache/`, made once.
"""

import fcntl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.migrations import State, downgrade, status, upgrade
from nms.common.db.revisions import create_revision, folder_of
from nms.common.db.schema import compare_schema, schema_file
from tests.conftest import MakeDatabase
from tests.service.databases import ask, tables

VERSION = "0.3.12"
CACHE = Path(__file__).parents[2] / ".cache" / f"aiosqlembic-{VERSION}-py{sys.version_info[0]}{sys.version_info[1]}"
Aiosqlembic = Callable[..., str]


@pytest.fixture(scope="session")
def aiosqlembic() -> Aiosqlembic:
    """Call the real tool with a folder, a DSN and a command; gives what it printed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", CACHE / "venv"], check=True)
            # It imports click and does not declare it.
            packages = [f"aiosqlembic=={VERSION}", "click"]
            install = [str(CACHE / "venv/bin/python"), "-m", "pip", "install", "--quiet", *packages]
            done = subprocess.run(install, check=False, capture_output=True, text=True)
            assert done.returncode == 0, f"aiosqlembic could not be installed:\n{done.stderr}"
            (CACHE / "ready").touch()

    def call(folder: Path, dsn: str, *command: str) -> str:
        done = subprocess.run(
            [CACHE / "venv/bin/aiosqlembic", "-m", folder, "asyncpg", dsn, *command],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def write(folder: Path, version: int) -> None:
    (folder / f"{20260101000000 + version}_step_{version}.sql").write_text(
        f"-- name: up#\ncreate table t{version} (id int);\n\n-- name: down#\ndrop table t{version};\n", encoding="utf-8"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in (10, 20):
        write(tmp_path, version)
    return tmp_path


@pytest.fixture
async def empty(make_database: MakeDatabase) -> str:
    return await make_database()


async def states(dsn: str, folder: Path) -> list[str]:
    return [str(revision.state) for revision in await status(dsn, folder)]


async def test_what_we_applied_is_up_to_date_for_aiosqlembic_and_it_goes_on(
    aiosqlembic: Aiosqlembic, empty: str, folder: Path
) -> None:
    await upgrade(empty, folder)
    seen = aiosqlembic(folder, empty, "status")
    assert "pending" not in seen
    assert [line.split()[-1] for line in seen.splitlines() if "[*]" in line] == ["20260101000020_step_20.sql"]
    assert "[]" in aiosqlembic(folder, empty, "up")
    write(folder, 30)
    assert "20260101000030" in aiosqlembic(folder, empty, "up")
    assert await states(empty, folder) == ["applied"] * 3
    assert await upgrade(empty, folder) == []
    assert await tables(empty) == ["t10", "t20", "t30"]


async def test_what_aiosqlembic_applied_is_up_to_date_for_us_and_we_go_on(
    aiosqlembic: Aiosqlembic, empty: str, folder: Path
) -> None:
    aiosqlembic(folder, empty, "up")
    assert await states(empty, folder) == ["applied"] * 2
    assert await upgrade(empty, folder) == []
    write(folder, 30)
    assert [step.version for step in await upgrade(empty, folder)] == [20260101000030]
    assert "pending" not in aiosqlembic(folder, empty, "status")
    assert await ask(empty, "select count(*) from aiosqlembic.aiosqlembic where checksum is null") == [1]


async def test_each_takes_back_what_the_other_applied(aiosqlembic: Aiosqlembic, empty: str, folder: Path) -> None:
    aiosqlembic(folder, empty, "up")
    assert [step.version for step in await downgrade(empty, folder)] == [20260101000020]
    assert "pending" in aiosqlembic(folder, empty, "status")
    await upgrade(empty, folder)
    assert "20260101000020" in aiosqlembic(folder, empty, "down")
    assert await states(empty, folder) == ["applied", "pending"]
    assert [step.version for step in await upgrade(empty, folder)] == [20260101000020]
    assert await tables(empty) == ["t10", "t20"]


async def test_after_a_late_file_aiosqlembic_still_knows_the_newest_revision(
    aiosqlembic: Aiosqlembic, empty: str, folder: Path
) -> None:
    aiosqlembic(folder, empty, "up")
    write(folder, 15)
    assert "[]" in aiosqlembic(folder, empty, "up"), "aiosqlembic skips it"
    assert [(step.version % 100, step.late) for step in await upgrade(empty, folder)] == [(15, True)]
    seen = aiosqlembic(folder, empty, "status")
    assert "pending" not in seen
    assert [line.split()[-1] for line in seen.splitlines() if "[*]" in line] == ["20260101000020_step_20.sql"]
    assert "[]" in aiosqlembic(folder, empty, "up")
    assert "20260101000020" in aiosqlembic(folder, empty, "down")


async def test_a_file_that_one_creates_is_applied_by_the_other(
    aiosqlembic: Aiosqlembic, empty: str, tmp_path: Path
) -> None:
    # Both count in seconds: the second file must not get the number of the first.
    ours = create_revision(tmp_path, "OurFile", now=datetime.now(UTC) - timedelta(days=1))
    assert ours.name in aiosqlembic(tmp_path, empty, "status")
    aiosqlembic(tmp_path, empty, "up")
    assert await states(empty, tmp_path) == ["applied"]
    ours.unlink()
    theirs = Path(aiosqlembic(tmp_path, empty, "create", "--name", "TheirFile").split("Created: ")[1].strip())
    assert theirs.name.endswith("_their_file.sql")
    assert [step.name for step in await upgrade(empty, tmp_path)] == [theirs.name]


@pytest.mark.parametrize("kind", list(DSNType))
async def test_our_own_migrations_make_the_same_database_through_aiosqlembic(
    aiosqlembic: Aiosqlembic, empty: str, kind: DSNType
) -> None:
    folder = folder_of(kind) / "migrations"
    aiosqlembic(folder, empty, "up")
    assert {revision.state for revision in await status(empty, folder)} == {State.APPLIED}
    await compare_schema(empty, schema_file(folder))
