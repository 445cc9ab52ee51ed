"""A private PostgreSQL: 16 and 18 from the wheel, the machine's own (15 on Debian 12) from /usr/lib/postgresql."""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg
from psycopg import sql

from nms.common.db.embedded_place import Account, account_for, binaries
from nms.common.db.embedded_process import is_running, read_lock
from tests.services.administrator import administrator_of, dismiss
from tests.services.place import make_room
from tests.services.process import Kept, ServiceFailed, end, free_port, keep, log_end, reap, wait_until

DEBIAN = Path("/usr/lib/postgresql")
Mode = Literal["fast", "immediate"]
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
LOGIN, SUPERUSER, PASSWORD = "nms", "postgres", "pw-for-tests"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "64",
    "max_wal_senders": "64",
    "max_connections": "200",
    "max_worker_processes": "32",
    "max_prepared_transactions": "16",
    "max_logical_replication_workers": "16",
    "log_timezone": "UTC",
}
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Only for servers that no test crashes."""


def find_programs(version: str, account: Account) -> Path:
    """The folder of PostgreSQL's programs; for `15` the machine's own version when it has no 15."""
    if version in ("16", "18"):
        return binaries(version, account)
    installed = find_installed()
    if not installed:
        raise ServiceFailed("No PostgreSQL of this machine's own is installed: run `make services`.")
    return installed.get(version) or installed[max(installed, key=int)]


def find_installed() -> dict[str, Path]:
    """The folders of the machine's own PostgreSQL programs, by major version."""
    return {p.parent.parent.name: p.parent for p in DEBIAN.glob("*/bin/postgres")}


class PostgresServer:
    """A PostgreSQL of one version in a directory of its own; it ends with its owner, however that ends.

    `await start()`, `await stop("immediate" | "fast")`, `await restart(...)` keep port and data, so DSNs stay good.
    `launch`, `end` and `close` are the same for code that is not async. With `durable=False` a crash loses data.
    """

    def __init__(
        self,
        version: str = "18",
        directory: Path | None = None,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.version = version
        self.directory = Path(directory or make_room(f"nms-pg{version}-"))
        self.port, self.durable = 0, durable
        self._settings = {**SETTINGS, **({} if durable else UNSAFE), **(settings or {})}
        self._kept: Kept | None = None

    async def start(self) -> "PostgresServer":
        """Start and wait until it is ready (after a crash: recovered); raises ServiceFailed with the log's end."""
        await asyncio.to_thread(self.launch)
        return self

    async def stop(self, mode: Mode = "fast") -> None:
        """Stop: `fast` writes a checkpoint, `immediate` is a crash."""
        await asyncio.to_thread(self.end, mode)

    async def restart(self, mode: Mode = "fast") -> None:
        """Stop and start on the same port with the same data."""
        await self.stop(mode)
        await self.start()

    async def close(self) -> None:
        """Stop it and remove its data."""
        await asyncio.to_thread(self.remove)

    @property
    def pid(self) -> int:
        """The process number of the postmaster; 0 when it is stopped."""
        return self._kept.pid if self._kept else 0

    def dsn(self, database: str, user: str = LOGIN) -> str:
        """A DSN for our login: owner of what create_database makes, may replicate, no superuser."""
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def superuser_dsn(self, database: str = "postgres") -> str:
        """A DSN for the superuser."""
        return self.dsn(database, SUPERUSER)

    async def create_database(self, name: str | None = None, *, template: str = "template0") -> str:
        """Make a database owned by our login (name: random unless given) and answer its DSN."""
        name = name or f"t_{uuid.uuid4().hex[:16]}"
        made = sql.SQL("create database {} owner {} template {} strategy {}")
        way = sql.Identifier(LOGIN), sql.Identifier(template), sql.SQL("wal_log" if self.durable else "file_copy")
        await self._administer(made.format(sql.Identifier(name), *way))
        return self.dsn(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database with its sessions and its replication slots."""
        sessions = sql.SQL("select pg_terminate_backend(active_pid) from pg_replication_slots where database = {}")
        dropped = sql.SQL("drop database if exists {} with (force)")
        await self._administer(sessions.format(sql.Literal(name)), dropped.format(sql.Identifier(name)))

    async def has_database(self, name: str) -> bool:
        """Whether there is a database of this name."""
        found = sql.SQL("select 1 from pg_database where datname = {}")
        return bool(await self._administer(found.format(sql.Literal(name))))

    async def execute(self, sql: str, *arguments: Any, database: str = "postgres") -> list[asyncpg.Record]:
        """Run one statement as superuser and answer its rows."""
        connection = await asyncpg.connect(self.superuser_dsn(database))
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    async def _administer(self, *statements: sql.Composed) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(administrator_of(self.superuser_dsn()).run, *statements)

    def launch(self) -> "PostgresServer":
        """The same as `start`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and self.directory.stat().st_uid == 0:
            shutil.chown(self.directory, (owner := account_for(self.directory)).uid, owner.gid)
        account = account_for(self.directory)
        programs = find_programs(self.version, account)
        data = self.directory / "data"
        fresh = not data.exists()
        if fresh:
            self._initialise(programs, account)
        for _ in range(5):
            self.port = self.port or free_port()
            self._kept = self._run(programs, data, account)
            if self._is_ready():
                if fresh:
                    with ThreadPoolExecutor(1) as aside:  # the caller's thread may have a running loop
                        aside.submit(asyncio.run, self._create_login()).result()
                return self
            if "could not bind" not in log_end(self.directory) or not fresh:
                break
            self.port = 0
        raise ServiceFailed(f"PostgreSQL {self.version} did not start:\n{log_end(self.directory)}")

    def end(self, mode: Mode = "fast") -> None:
        """The same as `stop`."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            dismiss(self.superuser_dsn())
            end(kept, SIGNALS[mode], 60)

    def remove(self) -> None:
        """The same as `close`."""
        self.end("immediate")
        reap()
        shutil.rmtree(self.directory, ignore_errors=True)

    def to_dict(self) -> dict[str, Any]:
        """What another process needs to use this running server."""
        kept = self._kept
        assert kept is not None
        return {
            "version": self.version,
            "directory": str(self.directory),
            "port": self.port,
            "durable": self.durable,
            "kept": [kept.pid, kept.keeper],
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "PostgresServer":
        """The server that another process started."""
        server = cls(facts["version"], Path(facts["directory"]), durable=facts["durable"])
        server.port, server._kept = facts["port"], Kept(*facts["kept"])
        return server

    def _run(self, programs: Path, data: Path, account: Account) -> Kept:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        self._kept = kept = keep(
            [programs / "postgres", "-D", data, "-c", f"port={self.port}", *options],
            self.directory,
            stop_signal=signal.SIGQUIT,
            account=(account.uid, account.gid),
        )
        wait_until(lambda: self._is_ready() or not is_running(kept.pid), 120)
        return kept

    def _is_ready(self) -> bool:
        lock = read_lock(self.directory / "data")
        return lock is not None and lock.pid == self.pid and lock.status == "ready"

    def _initialise(self, programs: Path, account: Account) -> None:
        password = self.directory / "pw"
        password.write_text(PASSWORD)
        done = run(
            [
                *(programs / "initdb", "-D", self.directory / "data", "-U", SUPERUSER, "--auth=trust", "-E", "UTF8"),
                *("--locale=C.UTF-8", "--no-sync", "--no-instructions", "--pwfile", password),
            ],
            capture_output=True,
            text=True,
            cwd=self.directory,
            check=False,
            **account.switch,
        )
        if done.returncode != 0:
            raise ServiceFailed(f"initdb of PostgreSQL {self.version} failed: {done.stderr}")

    async def _create_login(self) -> None:
        await self.execute(f"create role {LOGIN} login replication createdb createrole password '{PASSWORD}'")
        await self.execute(f"grant pg_monitor to {LOGIN}")


class ForeignServer(PostgresServer):
    """The server of TEST_PG_DSN: it is used as it is and never started or stopped; its login is the superuser."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self.version, self.directory, self._kept, self.durable = "foreign", Path(os.devnull), None, True
        self.port = self._parts.port or 5432

    def dsn(self, database: str, user: str = "") -> str:
        return self._parts._replace(path=f"/{database}").geturl()

    async def create_database(self, name: str | None = None, *, template: str = "template0") -> str:
        name = name or f"t_{uuid.uuid4().hex[:16]}"
        made = sql.SQL("create database {} template {} strategy wal_log")
        await self._administer(made.format(sql.Identifier(name), sql.Identifier(template)))
        return self.dsn(name)

    def launch(self) -> "PostgresServer":
        return self

    def end(self, mode: Mode = "fast") -> None:
        raise ServiceFailed("The server of TEST_PG_DSN is not ours to stop.")
