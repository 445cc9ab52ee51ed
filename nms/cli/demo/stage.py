"""What the demo runs on: a PostgreSQL of its own in DATA_DIR/demo, two managed databases, two workers."""

import asyncio
import fcntl
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from nms.cli.connection import DATABASES, publish_dsns
from nms.cli.demo.process import ChildFailed, Process, child_environment
from nms.common.db.embedded import SUPERUSER, VERSION, Embedded, Server
from nms.common.db.embedded_place import account_for, binaries
from nms.common.db.embedded_process import end_server, is_running, is_working_on, read_lock
from nms.common.db.pool import close_pools
from nms.common.db.queries import load
from nms.common.problem import Problem
from nms.connectors.postgres.catalog import Connection, connect
from nms.connectors.postgres.libpq import Access

queries = load("nms.cli.demo")

APPLICATION, READER, WRITER = "shop", "nms_reader", "nms_writer"
MANAGED = ("billing", "crm")


class DemoRunning(Problem):
    """Another demo works in the same data directory."""

    status, code, title = 409, "demo-running", "A demo is running already"
    remedy = "Wait until it has ended, or set DATA_DIR to another directory."


class DemoPlaceRefused(Problem):
    """What an earlier demo left cannot be removed."""

    code, title = "demo-place-refused", "The directory of the demo cannot be used"
    remedy = "Remove the directory that `path` names, or set DATA_DIR to another directory."


class Stage:
    """The running server, its logins, and the worker processes; made by `open_stage`."""

    def __init__(self, place: Path, server: Server) -> None:
        self.place = place
        self.server = server
        self.programs = binaries(VERSION, account_for(server.directory))
        self.workers: list[Process] = []
        self.stays = False
        self.keeps_data = False
        self._passwords = {login: secrets.token_urlsafe(18) for login in (APPLICATION, READER, WRITER)}

    def dsn(self, database: str, login: str) -> str:
        """The DSN of a managed database for one of the logins."""
        password = quote(self._passwords[login], safe="")
        return f"postgresql://{login}:{password}@127.0.0.1:{self.server.port}/{database}?sslmode=disable"

    async def connect(self, database: str, login: str = APPLICATION) -> Connection:
        """A connection of your own."""
        return await connect(Access(database, self.dsn(database, login)), name="nms-demo")

    async def create_logins(self) -> None:
        """Make the logins; passwords travel as settings of the session, since scripts take no parameters."""
        access = Access("the embedded server", self.server.dsn("postgres", SUPERUSER))
        connection = await connect(access, name="nms-demo")
        try:
            for login, password in self._passwords.items():
                await queries.update_setting(connection, name=f"demo.{login}", value=password)
            await connection.execute(_script("logins.sql"))
        finally:
            await connection.close()

    def publish(self) -> None:
        """Put the references of the documents, and our own databases, where this process and its children look."""
        publish_dsns(self.server.dsn)
        os.environ["BILLING_DSN"] = self.dsn("billing", READER)
        os.environ["CRM_DSN"] = self.dsn("crm", WRITER)

    async def run_script(self, name: str, database: str, login: str = APPLICATION) -> None:
        """Run one of the demo's SQL files."""
        connection = await self.connect(database, login)
        try:
            await connection.execute(_script(name))
        finally:
            await connection.close()

    async def prepare_target(self) -> None:
        """Make the schema `nms` in the target, as its login; `nms doctor --prepare` does the same."""
        connection = await self.connect("crm", WRITER)
        try:
            await connection.execute((files("nms.connectors.postgres") / "prepare.sql").read_text(encoding="utf-8"))
        finally:
            await connection.close()

    async def start_pgbench(self, database: str, *arguments: str) -> Process:
        """Start PostgreSQL's own benchmark as the company's application."""
        environment = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.server.port),
            "PGUSER": APPLICATION,
            "PGPASSWORD": self._passwords[APPLICATION],
            "PGDATABASE": database,
            "PGSSLMODE": "disable",
        }
        command = [str(self.programs / "pgbench"), *arguments]
        return await Process.start("pgbench", command, environment, self.place)

    async def start_worker(self, lease: float) -> Process:
        """Start one more `nms worker sync`; its log stands beside the data."""
        name = f"worker {len(self.workers) + 1}"
        command = [sys.executable, "-m", "nms", "worker", "sync", "--with-parent"]
        with self._log_of(name).open("ab") as log:
            worker = await Process.start(name, command, child_environment(self.place, lease), self.place, log)
        self.workers.append(worker)
        return worker

    def check_workers(self) -> None:
        """Raise ChildFailed when a worker has ended that nobody killed."""
        for worker in self.workers:
            if not (worker.running or worker.killed):
                said = self._log_of(worker.name).read_text(errors="replace").splitlines()[-5:]
                raise ChildFailed(f"{worker.name.capitalize()} has ended by itself.", said=said)

    def _log_of(self, name: str) -> Path:
        return self.place / f"{name.replace(' ', '-')}.log"

    def write_environment(self) -> Path:
        """Write a file for the shell with what it takes to look at the demo's systems; only its owner may read it."""
        path = self.place / "environment"
        path.touch(mode=0o600)
        values = {"DATA_DIR": str(self.place), **{name: os.environ[name] for name in ("BILLING_DSN", "CRM_DSN")}}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
        programs = shlex.quote(f"{Path(sys.executable).parent}:{self.programs}:")
        path.write_text("".join(lines) + f'export PATH={programs}"$PATH"\n')
        return path

    async def stop_workers(self) -> None:
        """End all workers."""
        await asyncio.gather(*(worker.end() for worker in self.workers))


@asynccontextmanager
async def open_stage(place: Path) -> AsyncIterator[Stage]:
    """Start a new server in a directory of the demo, clearing what an earlier one left there.

    On leaving everything is stopped and removed, unless the stage is told to stay or to keep its data.
    """
    place = place.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.with_name(place.name + ".lock")):
        await _clear(place)
        place.mkdir(mode=0o711)
        embedded = Embedded(place)
        stage: Stage | None = None
        try:
            stage = Stage(place, await _start(embedded))
            await _create_databases(embedded)
            await stage.create_logins()
            stage.publish()
            yield stage
        except Exception:
            if stage is not None:
                stage.keeps_data = True
            raise
        finally:
            await _leave(place, embedded, stage)


async def _leave(place: Path, embedded: Embedded, stage: Stage | None) -> None:
    if stage is not None:
        await stage.stop_workers()
    await close_pools()  # a pool without its server complains
    if stage is None or not stage.stays:
        await embedded.stop()
        if stage is None or not stage.keeps_data:
            await _clear(place)


async def _start(embedded: Embedded) -> Server:
    starting = asyncio.create_task(embedded.start())
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Half started it could not be stopped.
        await asyncio.wait({starting})
        raise


async def _create_databases(embedded: Embedded) -> None:
    for name in (*DATABASES.values(), *MANAGED):
        await embedded.create_database(name)


async def _clear(place: Path) -> None:
    """End the server that an earlier demo left running, and remove its data."""
    home = (place / "postgres").resolve()
    try:
        lock = read_lock(home / "data")
        if lock is not None and is_running(lock.pid) and is_working_on(lock.pid, home / "data"):
            await end_server(lock.pid)
        for each in (home, place):
            if each.exists():
                await asyncio.to_thread(shutil.rmtree, each)
    except OSError as error:
        raise DemoPlaceRefused(f"{place} cannot be cleared: {error.strerror}.", path=str(place)) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that one demo has at a time."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoRunning(f"Another demo runs in {path.parent}.", path=str(path.parent)) from None
        yield


def _script(name: str) -> str:
    return (files("nms.cli.demo") / name).read_text(encoding="utf-8")
