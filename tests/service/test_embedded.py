"""The embedded PostgreSQL: started, adopted, stopped, and clear about what it cannot use."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import uvloop

from nms.common.db.embedded import Embedded, EmbeddedFailed, EmbeddedInUse, EmbeddedVersion
from nms.common.db.embedded_place import EmbeddedUnreachable, account_for, binaries
from nms.common.db.embedded_process import end_server, is_running, read_lock
from nms.common.problem import Problem
from tests.services.process import wait_until


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory that every user may enter, unlike those of pytest."""
    place = Path(tempfile.mkdtemp(prefix="nms-embedded-"))
    place.chmod(0o711)
    yield place
    for lock in filter(None, map(read_lock, place.glob("*/data"))):
        if is_running(lock.pid) and lock.pid != os.getpid():
            asyncio.run(end_server(lock.pid, 5.0))
    shutil.rmtree(place)


async def ask(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_data_and_port_are_kept_between_runs(data_dir: Path) -> None:
    first = Embedded(data_dir)
    server = await first.start()
    assert await first.create_database("kept")
    assert not await first.create_database("kept")
    await ask(first.dsn("kept"), "create table t as select 42 as x")
    await first.stop()
    assert not is_running(server.pid)
    assert first.find() is None
    second = Embedded(data_dir)
    again = await second.start()
    assert again.port == server.port
    assert await ask(second.dsn("kept"), "select x from t") == 42
    await second.stop()


def test_it_works_under_uvloop_too(data_dir: Path) -> None:
    async def body() -> None:
        embedded = Embedded(data_dir)
        await embedded.start()
        assert await ask(embedded.dsn("postgres"), "select 1") == 1
        await embedded.stop()

    uvloop.run(body())


async def test_it_serves_logical_replication_to_a_login_that_is_no_superuser(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    assert await ask(server.dsn("postgres"), "show server_version_num") >= "180000"  # type: ignore[operator]
    assert await ask(server.dsn("postgres"), "show wal_level") == "logical"
    assert await ask(server.dsn("postgres"), "show listen_addresses") == "127.0.0.1"
    rights = "select rolreplication and rolcreatedb and not rolsuper from pg_roles where rolname = current_user"
    assert await ask(server.dsn("postgres"), rights)
    await embedded.stop()


async def test_nobody_gets_in_without_the_password_and_nobody_else_reads_it(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host="127.0.0.1", port=server.port, user="nms", password="guess", database="postgres")
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.directory / "pw").stat().st_mode) == 0o600
    assert (server.directory / "pw").read_text().strip() not in repr(server)
    await embedded.stop()


async def test_a_running_server_is_adopted_and_only_its_owner_stops_it(data_dir: Path) -> None:
    owner, guest = Embedded(data_dir), Embedded(data_dir)
    started = await asyncio.gather(owner.start(), guest.start())
    assert started[0] == started[1]
    assert owner.owned != guest.owned
    if guest.owned:
        owner, guest = guest, owner
    await guest.stop()
    assert is_running(started[0].pid)
    await owner.stop()
    assert not is_running(started[0].pid)


OWNER = """
import asyncio, os, signal, sys
from pathlib import Path
from nms.common.db.embedded import Embedded
async def main():
    embedded = Embedded(Path(sys.argv[1]))
    server = await embedded.start()
    print(server.pid, server.port, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_killed_parent_leaves_the_server_to_the_next_start_which_then_owns_it(data_dir: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, data_dir, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    pid, port = map(int, (await parent.stdout.readline()).split())
    guest = Embedded(data_dir)
    assert (await guest.start()).pid == pid
    assert not guest.owned
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    assert is_running(pid)
    heir = Embedded(data_dir)
    server = await heir.start()
    assert (server.pid, server.port, heir.owned) == (pid, port, True)
    await heir.stop()
    assert not is_running(pid)


async def test_a_killed_server_is_recovered_although_its_last_processes_are_still_dying(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    await embedded.create_database("kept")
    await ask(embedded.dsn("kept"), "create table t as select 42 as x")
    connection = await asyncpg.connect(embedded.dsn("kept"))
    sleeper = asyncio.create_task(connection.execute("select pg_sleep(60)"))
    os.kill(server.pid, signal.SIGKILL)
    again = await embedded.start()
    assert again.pid != server.pid
    assert await ask(embedded.dsn("kept"), "select x from t") == 42
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await sleeper
    await embedded.stop()


async def test_a_lock_file_whose_number_now_names_another_program_is_no_obstacle(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    lock = server.directory / "data" / "postmaster.pid"
    text = lock.read_text()
    await embedded.stop()
    lock.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]) + "\n")
    shutil.chown(lock, server.directory.stat().st_uid)
    again = Embedded(data_dir)
    assert (await again.start()).pid != os.getpid()
    await again.stop()


async def test_data_of_another_version_is_refused_with_both_versions(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    await embedded.stop()
    (server.directory / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedVersion, match="made by PostgreSQL 16; this NMS brings 18") as caught:
        await Embedded(data_dir).start()
    assert (caught.value.found, caught.value.wanted) == ("16", "18")


async def test_a_directory_with_something_else_in_it_is_refused(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    await embedded.stop()
    (server.directory / "data" / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedFailed, match="no data directory of PostgreSQL"):
        await Embedded(data_dir).start()


async def test_a_server_of_someone_else_on_the_same_data_is_refused_with_its_number(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    (server.directory / "pw").write_text("not-the-password-of-this-server\n")
    with pytest.raises(EmbeddedInUse) as caught:
        await Embedded(data_dir).start()
    assert caught.value.pid == server.pid
    assert is_running(server.pid)
    await embedded.stop()


async def test_a_server_that_cannot_start_tells_why(data_dir: Path) -> None:
    embedded = Embedded(data_dir)
    server = await embedded.start()
    await embedded.stop()
    with (server.directory / "data" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = 'much'\n")
    with pytest.raises(EmbeddedFailed, match="shared_buffers"):
        await Embedded(data_dir).start()


def as_user(uid: int, body: Callable[[], Awaitable[None]]) -> str:
    """Run a coroutine in a child process as another user (as root) or as ourselves; answers what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            asyncio.run(body())  # type: ignore[arg-type]
        except Problem as problem:
            os.write(writing, problem.code.encode())
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def stranger(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A user without rights, who can read the binaries wherever this checkout stands."""
    if os.geteuid() != 0:
        return os.geteuid()
    nobody = pwd.getpwnam("nobody")
    account = account_for(data_dir / "missing")
    programs = binaries("18", account)
    if programs.parts[1] == "var":
        monkeypatch.syspath_prepend(programs.parents[2])
    return nobody.pw_uid


def test_it_runs_as_a_user_without_rights(data_dir: Path, stranger: int) -> None:
    async def body() -> None:
        embedded = Embedded(data_dir / "own")
        server = await embedded.start()
        assert Path(f"/proc/{server.pid}").stat().st_uid == stranger
        await embedded.create_database("nms")
        assert await ask(embedded.dsn("nms"), "select 1") == 1
        await embedded.stop()

    data_dir.chmod(0o777)
    asyncio.run(_warm(data_dir / "warm"))
    assert as_user(stranger, body) == ""


async def _warm(place: Path) -> None:
    """Import everything a run needs: the child may not be able to read this interpreter's library."""
    embedded = Embedded(place)
    await embedded.start()
    await ask(embedded.dsn("postgres"), "select 1")
    await embedded.stop()


def test_a_directory_that_cannot_be_made_is_a_problem_with_a_remedy(data_dir: Path, stranger: int) -> None:
    async def body() -> None:
        await Embedded(Path("/proc/nms")).start()

    assert as_user(stranger, body) == EmbeddedUnreachable.code


async def test_root_never_runs_the_server_as_root_and_keeps_it_where_its_user_can_reach_it(data_dir: Path) -> None:
    hidden = data_dir / "hidden"
    hidden.mkdir(mode=0o700)
    embedded = Embedded(hidden / "data")
    server = await embedded.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    found = Embedded(hidden / "data").find()
    assert found is not None
    assert found.port == server.port
    await embedded.stop()
    assert wait_until(lambda: not is_running(server.pid), 10)
    shutil.rmtree(server.directory)
