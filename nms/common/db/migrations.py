"""Migrations: brings a database to the newest revision, once, whoever starts it how often.

The history is the table of aiosqlembic, with a column `checksum` added. Runners take turns by an advisory lock
that is polled: a blocking wait would deadlock with another session's `create index concurrently`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import asyncpg

from nms.common.db.dsn import check_dsn
from nms.common.db.pool import CONNECT_SECONDS, Connection
from nms.common.db.problems import DRIVER_ERRORS, RightMissing, translated
from nms.common.db.queries import load
from nms.common.db.revisions import Revision, SqlStatement, read_folder
from nms.common.problem import Problem, Retry

LOCK_KEY = 0x6E6D735F6D696772
"""The advisory lock of migrations ("nms_migr"); advisory locks belong to one database each."""

WAIT_SECONDS, POLL_SECONDS, LOCK_TIMEOUT = 120.0, 0.1, "10s"

queries = load("nms.common.db")

_CREATE_HISTORY = """
create schema aiosqlembic;
create table aiosqlembic.aiosqlembic (
    id         serial    not null,
    version_id bigint    not null,
    is_applied boolean   not null,
    tstamp     timestamp null default now(),
    primary key (id)
);
insert into aiosqlembic.aiosqlembic (version_id, is_applied) values (0, true);
"""


class State(StrEnum):
    """Where a revision stands; LATE is pending although a newer one is applied, MISSING has lost its file."""

    APPLIED = "applied"
    PENDING = "pending"
    LATE = "late"
    CHANGED = "changed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class _Applied:
    version_id: int
    tstamp: datetime
    checksum: str | None

    @property
    def at(self) -> datetime:
        return self.tstamp.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """One revision as the database sees it; `applied_at` is in UTC."""

    version: int
    name: str
    state: State
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class Step:
    """One revision that was applied or taken back, and how long that took."""

    version: int
    name: str
    seconds: float
    late: bool = False


class MigrationFailed(Problem):
    """A statement of a revision failed; the revision was rolled back, those before it stay."""

    status, code, title = 500, "migration-failed", "A migration failed"
    remedy = "Correct the statement at the named line and run `nms db up` again; nothing of this revision stayed."


class RevisionChanged(Problem):
    """A file was changed after it was applied."""

    status, code, title = 409, "revision-changed", "An applied migration file was changed"
    remedy = "Give the file its old content back and put the change into a new revision (`nms db create`)."


class RevisionMissing(Problem):
    """The newest applied revision has no file or no way down."""

    status, code, title = 409, "revision-missing", "There is no way down"
    remedy = "Check out the version that has this file, or write its piece `-- name: down#`."


class MigrationsBusy(Problem):
    """Another runner has been migrating this database for too long."""

    status, code, retry, title = 503, "migrations-busy", Retry.LATER, "Another migration is running"
    remedy = "Wait for it; pg_locks shows who holds the advisory lock."


async def upgrade(dsn: str, folder: Path, *, wait: float = WAIT_SECONDS) -> list[Step]:
    """Apply what is pending, each revision in its own transaction, and tell what was applied.

    Late files are applied too. Raises RevisionRefused and RevisionChanged before anything is written,
    MigrationFailed, MigrationsBusy after `wait` seconds, and what connecting raises.
    """
    revisions = read_folder(folder)
    async with _migrating(dsn, wait) as connection:
        statuses = await _compare(connection, revisions)
        _refuse_changed(statuses)
        await _adopt(connection, revisions, statuses)
        return [
            await _apply(connection, revision, late=statuses[revision.version].state is State.LATE)
            for revision in revisions
            if statuses[revision.version].state in (State.PENDING, State.LATE)
        ]


async def downgrade(dsn: str, folder: Path, *, steps: int = 1, wait: float = WAIT_SECONDS) -> list[Step]:
    """Take back the newest applied revisions; raises RevisionMissing, MigrationFailed, MigrationsBusy."""
    revisions = {revision.version: revision for revision in read_folder(folder)}
    async with _migrating(dsn, wait) as connection:
        applied = [row["version_id"] for row in await queries.list_applied(connection)]
        return [
            await _take_back(connection, version, revisions.get(version)) for version in sorted(applied)[::-1][:steps]
        ]


async def status(dsn: str, folder: Path) -> list[RevisionStatus]:
    """Every revision of the folder and of the history, in order; reads only."""
    revisions = read_folder(folder)
    async with connected(dsn) as connection:
        statuses = await _compare(connection, revisions)
    return [statuses[version] for version in sorted(statuses)]


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """A connection for work on the schema, closed at the end; raises DsnRefused and what connecting raises."""
    settings = {"application_name": "nms-migrations", "lock_timeout": LOCK_TIMEOUT, "timezone": "UTC"}
    with translated():
        connection = await asyncpg.connect(check_dsn(dsn), timeout=CONNECT_SECONDS, server_settings=settings)
    try:
        yield connection
    finally:
        with suppress(*DRIVER_ERRORS):
            await connection.close(timeout=CONNECT_SECONDS)


@asynccontextmanager
async def _migrating(dsn: str, wait: float) -> AsyncIterator[Connection]:
    """A connection that alone may migrate, with the history table in place."""
    async with connected(dsn) as connection:
        deadline = time.monotonic() + wait
        while not await queries.claim_migration(connection, key=LOCK_KEY):
            if time.monotonic() >= deadline:
                raise MigrationsBusy(f"Another runner has been migrating this database for {wait:.0f} s.")
            await asyncio.sleep(POLL_SECONDS)
        with translated():
            await _prepare_history(connection)
        yield connection


async def _prepare_history(connection: Connection) -> None:
    async with connection.transaction():
        if not await queries.get_history_exists(connection):
            await connection.execute(_CREATE_HISTORY)
        if not await queries.get_checksum_exists(connection):
            await connection.execute("alter table aiosqlembic.aiosqlembic add column checksum text")


async def _compare(connection: Connection, revisions: Sequence[Revision]) -> dict[int, RevisionStatus]:
    exists = await queries.get_history_exists(connection)
    rows = [_Applied(**row) for row in await queries.list_applied(connection)] if exists else []
    applied = {row.version_id: row for row in rows}
    newest = max(applied, default=0)
    statuses = {row.version_id: RevisionStatus(row.version_id, "", State.MISSING, row.at) for row in rows}
    for revision in revisions:
        row = applied.get(revision.version)
        if row is None:
            state = State.LATE if revision.version < newest else State.PENDING
        else:
            state = State.APPLIED if row.checksum in (None, revision.checksum) else State.CHANGED
        statuses[revision.version] = RevisionStatus(
            revision.version, revision.path.name, state, None if row is None else row.at
        )
    return statuses


def _refuse_changed(statuses: dict[int, RevisionStatus]) -> None:
    changed = [status.name for status in statuses.values() if status.state is State.CHANGED]
    if changed:
        raise RevisionChanged(f"Changed after they were applied: {', '.join(sorted(changed))}.", files=sorted(changed))


async def _adopt(connection: Connection, revisions: Sequence[Revision], statuses: dict[int, RevisionStatus]) -> None:
    """Give a checksum to what aiosqlembic applied."""
    with translated():
        async with connection.transaction():
            for revision in revisions:
                if statuses[revision.version].state is State.APPLIED:
                    await queries.update_checksum(connection, version=revision.version, checksum=revision.checksum)


async def _apply(connection: Connection, revision: Revision, *, late: bool) -> Step:
    begin = time.monotonic()
    with translated():
        async with connection.transaction():
            for statement in revision.up:
                await _run(connection, revision, statement)
            await queries.insert_applied(connection, version=revision.version, checksum=revision.checksum)
            if late:
                await queries.update_order(connection, version=revision.version)
        await _forget_session(connection)
    return Step(revision.version, revision.path.name, time.monotonic() - begin, late)


async def _take_back(connection: Connection, version: int, revision: Revision | None) -> Step:
    if revision is None:
        raise RevisionMissing(f"Revision {version} is applied, but its file is not here.", version=version)
    if not revision.down:
        raise RevisionMissing(f"{revision.path.name} has no way down.", version=version)
    begin = time.monotonic()
    with translated():
        async with connection.transaction():
            for statement in revision.down:
                await _run(connection, revision, statement)
            await queries.delete_applied(connection, version=version)
        await _forget_session(connection)
    return Step(version, revision.path.name, time.monotonic() - begin)


async def _run(connection: Connection, revision: Revision, statement: SqlStatement) -> None:
    try:
        await connection.execute(statement.text)
    except asyncpg.PostgresError as error:
        if str(error.sqlstate or "").startswith(("08", "57P")):
            raise
        raise _blame(revision, statement, error) from error


def _blame(revision: Revision, statement: SqlStatement, error: asyncpg.PostgresError) -> Problem:
    position = int(getattr(error, "position", None) or 1)
    line = statement.line + statement.text.count("\n", 0, position - 1)
    message = str(getattr(error, "message", None) or error)
    hints = [text for name in ("detail", "hint") if (text := getattr(error, name, None))]
    kind = RightMissing if error.sqlstate == "42501" else MigrationFailed
    return kind(
        f"{revision.path}:{line}: {'. '.join([message, *hints])}",
        path=str(revision.path),
        line=line,
        statement=statement.text,
        sqlstate=error.sqlstate,
    )


async def _forget_session(connection: Connection) -> None:
    """What a revision set for its session must not reach the next one; the advisory lock stays."""
    await connection.execute("reset role; reset all")
