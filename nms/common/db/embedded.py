"""The runner of the embedded PostgreSQL 18: started on a free port, its data kept between runs.

The server has its own session, so it survives a crash of the process that started it; the next start adopts it. Whoever
holds the lock on the file `owner` stops it; a killed process loses that lock by itself.
"""

import asyncio
import fcntl
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import asyncpg

from nms.common.db.embedded_place import CLEAN, Account, account_for, binaries, make_directory
from nms.common.db.embedded_process import (
    READY,
    STOPPING,
    end_server,
    is_running,
    is_working_on,
    read_lock,
    remove_stale_lock,
    wait_until_ended,
)
from nms.common.problem import Problem, Retry

VERSION = "18"
SUPERUSER = "postgres"
LOGIN = "nms"
START_SECONDS = 60.0
STALE_SECONDS = 10.0
LOG_BYTES = 10_000_000
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "max_replication_slots": "32",
    "max_wal_senders": "32",
    "max_connections": "200",
    "max_slot_wal_keep_size": "4GB",
}


_COMPLAINT = re.compile(r"FATAL|PANIC|error|invalid|could not", re.IGNORECASE)
_TIME = re.compile(r"^\d{4}-\S+ \S+ UTC \[\d+\] ")


class EmbeddedFailed(Problem):
    """The embedded PostgreSQL did not start; `log` has its last lines."""

    status, code, retry, title = 503, "embedded-failed", Retry.LATER, "The embedded PostgreSQL did not start"
    remedy = "Read the log that `path` names; to begin anew move the data directory away."


class EmbeddedVersion(Problem):
    """The data directory was made by another major version of PostgreSQL."""

    code, title = "embedded-version", "The data belongs to another version of PostgreSQL"
    remedy = "Dump it with the version that made it and load the dump into a new DATA_DIR."


class EmbeddedInUse(Problem):
    """Another process works on the data directory and is not the embedded server."""

    status, code, retry, title = 503, "embedded-in-use", Retry.LATER, "The data directory is in use"
    remedy = "End the process that `pid` names, or set DATA_DIR to another directory."


@dataclass(frozen=True)
class Server:
    """A running embedded PostgreSQL; the password is kept out of its repr."""

    port: int
    pid: int
    directory: Path

    def dsn(self, database: str, user: str = LOGIN) -> str:
        """The DSN of one database for our login (owner of the databases, no superuser) or for the superuser.

        The build has no TLS; saying so saves drivers the attempt, and the search for keys in the home directory.
        """
        password = quote((self.directory / "pw").read_text().strip(), safe="")
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{quote(database, safe='')}?sslmode=disable"


class Embedded:
    """The embedded server of one data directory: at most one runs, however many processes ask for it."""

    def __init__(self, directory: Path) -> None:
        self._wanted = directory / "postgres"
        self._owner: IO[bytes] | None = None
        self._server: Server | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def find(self) -> Server | None:
        """The running server, whoever started it; None when there is none or we may not look."""
        place = self._wanted.resolve()
        try:
            lock = read_lock(place / "data")
        except PermissionError:
            return None
        if lock is None or lock.status != READY or not is_running(lock.pid):
            return None
        return Server(lock.port, lock.pid, place)

    @property
    def owned(self) -> bool:
        """Whether stopping the server is our duty: we started it, or the process that did is dead."""
        return self._owner is not None

    async def start(self) -> Server:
        """Start the server or adopt the running one; raises EmbeddedVersion, EmbeddedInUse, EmbeddedFailed."""
        place = await asyncio.to_thread(make_directory, self._wanted)
        async with _locked(place / "lock"):
            self._take_ownership(place)
            try:
                _check_version(place / "data")
                self._server = await self._adopt(place) or await self._launch(place)
            except BaseException:
                self._give_up_ownership()
                raise
        return self._server

    async def stop(self) -> None:
        """Stop the server when it is ours to stop; open transactions are rolled back."""
        server, self._server = self._server, None
        try:
            if self.owned and server is not None:
                await end_server(server.pid)
                if self._process is not None:
                    self._process.wait()  # it has ended: this reaps it
        finally:
            self._give_up_ownership()

    def dsn(self, database: str) -> str:
        """The DSN of one database of the started server."""
        return self._started().dsn(database)

    async def create_database(self, name: str) -> bool:
        """Make a database owned by our login unless it is there; answers whether it was made."""
        connection = await asyncpg.connect(self._started().dsn("postgres"))
        try:
            if await connection.fetchval("select true from pg_database where datname = $1", name):
                return False
            quoted = await connection.fetchval("select quote_ident($1)", name)
            await connection.execute(f"create database {quoted}")
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return False
        finally:
            await connection.close()
        return True

    def _started(self) -> Server:
        if self._server is None:
            raise EmbeddedFailed("The embedded PostgreSQL is not started.", remedy="Start it with `nms up`.")
        return self._server

    def _take_ownership(self, place: Path) -> None:
        if self._owner is not None:
            return
        owner = (place / "owner").open("ab")
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner.close()
        else:
            self._owner = owner

    def _give_up_ownership(self) -> None:
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    async def _adopt(self, place: Path) -> Server | None:
        """Wait for a server that is starting or stopping, and take the one that is ready; None when none runs."""
        data, deadline = place / "data", time.monotonic() + START_SECONDS
        while (lock := read_lock(data)) is not None and is_running(lock.pid) and time.monotonic() < deadline:
            if not is_working_on(lock.pid, data):
                break
            if lock.status == STOPPING:
                await wait_until_ended(lock.pid, START_SECONDS)
            elif lock.status == READY:
                server = Server(lock.port, lock.pid, place)
                if await _lets_us_in(server):
                    return server
            await asyncio.sleep(0.02)
        remove_stale_lock(data)
        return None

    async def _launch(self, place: Path) -> Server:
        if self._owner is None:
            raise EmbeddedInUse(f"Another process is about to start or stop the server in {place}.", path=str(place))
        account = account_for(place)
        programs = await asyncio.to_thread(binaries, VERSION, account)
        if not (place / "data").exists():
            await asyncio.to_thread(_initialise, programs, place, account)
        deadline = time.monotonic() + STALE_SECONDS
        while True:
            started = await self._try_launch(programs, place, account)
            if isinstance(started, Server):
                await _prepare_login(started)
                return started
            if time.monotonic() > deadline or not _is_passing(started):
                raise EmbeddedFailed(
                    "The embedded PostgreSQL did not start: " + _last_complaint(started),
                    log=started.splitlines()[-5:],
                    path=str(place / "log"),
                )
            await asyncio.sleep(0.2)

    async def _try_launch(self, programs: Path, place: Path, account: Account) -> Server | str:
        """Start the server once; answers it when it is ready, or what it logged when it ended instead."""
        port = _free_port(place)
        if self._process is not None:
            self._process.wait()  # it has ended: this reaps it
        with _open_log(place, account) as log:
            begin = log.tell()
            self._process = process = _spawn(_start_command(programs, place, port), place, log, account)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None:
            lock = read_lock(place / "data")
            if lock is not None and lock.pid == process.pid and lock.status == READY:
                return Server(port, process.pid, place)
            if time.monotonic() > deadline:
                await end_server(process.pid, 5.0)
            await asyncio.sleep(0.02)
        self._process = None
        return (place / "log").read_bytes()[begin:].decode(errors="replace")


def _start_command(programs: Path, place: Path, port: int) -> list[str]:
    values = {**SETTINGS, "port": str(port), "unix_socket_directories": "", "log_timezone": "UTC"}
    options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(place / "data"), *options]


def _spawn(command: list[str], place: Path, output: IO[bytes], account: Account) -> subprocess.Popen[bytes]:
    """Start a program of PostgreSQL as its user; by `subprocess`, since uvloop cannot switch users."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=place,
        env=CLEAN,
        start_new_session=True,
        **account.switch,
    )


def _initialise(programs: Path, place: Path, account: Account) -> None:
    """Make a new data directory; it appears under its name only when it is complete."""
    draft = place / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    password = place / "pw"
    password.touch(mode=0o600)
    if os.geteuid() == 0:
        os.chown(password, account.uid, account.gid)
    password.write_text(secrets.token_urlsafe(24) + "\n")
    command = [
        *(str(programs / "initdb"), "-D", str(draft), "-U", SUPERUSER, "--pwfile", str(password)),
        *("--auth=scram-sha-256", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *("--locale=C", "--no-instructions"),
    ]
    with _open_log(place, account) as log:
        begin = log.tell()
        code = _spawn(command, place, log, account).wait()
    if code != 0:
        text = (place / "log").read_bytes()[begin:].decode(errors="replace")
        raise EmbeddedFailed(
            f"No data directory could be made in {place}: {_last_complaint(text)}",
            log=text.splitlines()[-5:],
            path=str(place / "log"),
        )
    draft.rename(place / "data")


async def _prepare_login(server: Server) -> None:
    """Make our login: it owns databases and may replicate, and is no superuser."""
    connection = await asyncpg.connect(server.dsn("postgres", SUPERUSER))
    try:
        if not await connection.fetchval("select true from pg_roles where rolname = $1", LOGIN):
            password = (server.directory / "pw").read_text().strip()
            await connection.execute(f"create role {LOGIN} login replication createdb createrole password '{password}'")
            await connection.execute(f"grant pg_monitor to {LOGIN}")
    finally:
        await connection.close()


async def _lets_us_in(server: Server) -> bool:
    """Whether it answers (it may be dying); raises EmbeddedInUse when someone else started it on this directory."""
    try:
        connection = await asyncpg.connect(server.dsn("postgres", SUPERUSER), timeout=10)
        await connection.close()
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError):
        raise EmbeddedInUse(
            f"The process {server.pid} works on {server.directory} and is not the embedded server.",
            pid=server.pid,
            path=str(server.directory),
        ) from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _check_version(data: Path) -> None:
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        if data.exists():
            raise EmbeddedFailed(
                f"{data} is no data directory of PostgreSQL: it has no file PG_VERSION.", path=str(data)
            ) from None
        return
    if found != VERSION:
        raise EmbeddedVersion(
            f"The data in {data} was made by PostgreSQL {found}; this NMS brings {VERSION}.",
            found=found,
            wanted=VERSION,
            path=str(data),
        )


def _is_passing(said: str) -> bool:
    """Whether a failed start is worth repeating: a dying predecessor, or a port that was taken meanwhile."""
    passing = ("lock file", "shared memory block", "could not bind", "could not create any TCP/IP sockets")
    return any(words in said for words in passing)


def _last_complaint(said: str) -> str:
    """The last two lines that complain, without their times; the reason often stands before the fatal line."""
    lines = [line for line in said.splitlines() if _COMPLAINT.search(line)] or said.splitlines()
    return "; ".join(_TIME.sub("", line).strip() for line in lines[-2:]) or "it said nothing"


def _free_port(place: Path) -> int:
    """The port of the last run when it is free, so that noted DSNs stay good; else any free one."""
    lock = place / "port"
    wanted = int(lock.read_text()) if lock.exists() else 0
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        lock.write_text(str(found))
        return found
    raise EmbeddedFailed("There is no free port on 127.0.0.1.")


def _open_log(place: Path, account: Account) -> IO[bytes]:
    path = place / "log"
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(place / "log.old")
    log = path.open("ab")
    log.seek(0, os.SEEK_END)
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid)
    return log


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock that one process has at a time, while a server is being started."""
    deadline = time.monotonic() + START_SECONDS
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedInUse(
                        "Another process has been starting this server for a minute.", path=str(path)
                    ) from None
                await asyncio.sleep(0.05)
        yield
