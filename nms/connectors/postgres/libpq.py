"""A connection through libpq: pipelines of raw parameters, COPY and the replication stream (libpq manual, 34)."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import generators, pq, waiting
from psycopg.abc import PQGen

from nms.common.change import frame, split_key, unframe
from nms.common.problem import Problem
from nms.connectors.postgres.problems import ServerAway, from_state, translate

# Pinned on both ends, so that text forms read the same whatever the server's defaults (DESIGN 4.2).
PINNED = {
    "client_encoding": "UTF8",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    "bytea_output": "hex",
    "xmloption": "content",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
}
# Where values are read, so that names in them are told in full; where they are written triggers need the login's own.
READS = {"search_path": "pg_catalog"}
Result = TypeVar("Result")
_BINARY = 1
_COPY_BLOCK = 1 << 18
_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED, pq.ExecStatus.BAD_RESPONSE)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a server: its system's name for messages, a DSN without password, and the password."""

    system: str
    dsn: str
    password: str | None = None

    def __repr__(self) -> str:
        return f"Access({self.system})"


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """SQL with the type object ids of its parameters; prepared on first use where it has any parameter."""

    name: str
    sql: str
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One execution of a statement; parameters are raw values in binary form."""

    statement: Statement
    params: Sequence[bytes | None] = ()

    @classmethod
    def of_key(cls, statement: Statement, key: bytes) -> "Command":
        """A statement whose parameters are the fields of a key."""
        return cls(statement, [unframe(field) for field in split_key(key)])


class StepFailed(Exception):
    """A command of a pipeline failed: its index (the number of commands when the commit itself failed)."""

    def __init__(self, index: int, problem: Problem) -> None:
        super().__init__(str(problem))
        self.index = index
        self.problem = problem


class Libpq:
    """One connection. Not for concurrent use; a cancelled call leaves it unusable, so close it then."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], access: Access) -> None:
        self._connection = connection
        self.pgconn = connection.pgconn
        self.access = access
        self._prepared: set[str] = set()

    @classmethod
    async def connect(cls, access: Access, *, name: str, replication: bool = False, reads: bool = False) -> "Libpq":
        """Connect with pinned settings; `name` is the application_name other workers end us by.

        With `reads` the session reads values and writes none.
        """
        # The source is told that a change is durable once its commit returns, whatever the server's default.
        pinned = {**PINNED, **READS} if reads or replication else {**PINNED, "synchronous_commit": "on"}
        options = " ".join(f"-c {key}={value.replace(' ', chr(92) + ' ')}" for key, value in pinned.items())
        extra: dict[str, Any] = {"password": access.password} if access.password is not None else {}
        if replication:
            extra["replication"] = "database"
        dsn = access.dsn.replace("postgres://", "postgresql://", 1)
        try:
            connection = await psycopg.AsyncConnection.connect(
                dsn, autocommit=True, application_name=name, options=options, connect_timeout=10,
                keepalives_idle=10, keepalives_interval=5, keepalives_count=3, tcp_user_timeout=30000, **extra,
            )  # fmt: skip
        except (psycopg.Error, OSError) as error:
            raise translate_connect(error, access) from error
        return cls(connection, access)

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        await self._connection.close()

    async def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Rows, as text, of one statement by the simple protocol (the only one a walsender speaks)."""
        self.pgconn.send_query(sql.encode())
        results = await self._wait(generators.execute(self.pgconn))
        self._check(results[-1])
        return [
            tuple(_text(results[-1].get_value(row, column)) for column in range(results[-1].nfields))
            for row in range(results[-1].ntuples)
        ]

    async def results(self) -> list[pq.abc.PGresult]:
        """What the server answered to a query just sent, whatever its status."""
        return list(await self._wait(generators.execute(self.pgconn)))

    async def prepare(self, commands: Iterable[Command]) -> None:
        """Prepare what the commands need and is not prepared yet."""
        for statement in {command.statement for command in commands}:
            if statement.types and statement.name not in self._prepared:
                self.pgconn.send_prepare(statement.name.encode(), statement.sql.encode(), statement.types)
                self._check((await self.results())[-1])
                self._prepared.add(statement.name)

    async def fetch(self, command: Command) -> list[tuple[bytes, ...]]:
        """Rows, as framed fields in binary form, of one statement."""
        await self.prepare([command])
        formats = [_BINARY] * len(command.params)
        self.pgconn.send_query_prepared(command.statement.name.encode(), command.params, formats, _BINARY)
        result = (await self.results())[-1]
        self._check(result)
        columns = range(result.nfields)
        return [tuple(frame(result.get_value(row, at)) for at in columns) for row in range(result.ntuples)]

    async def transact(self, commands: Iterable[Command]) -> list[int]:
        """Run commands as one transaction in one round trip; returns the rows each affected.

        Raises StepFailed with the index of the first command that failed; everything is rolled back then.
        """
        return await self._pipeline([BEGIN, *commands, COMMIT])

    async def run(self, commands: Iterable[Command]) -> list[int]:
        """As `transact`, inside a transaction the caller has opened."""
        return await self._pipeline(list(commands), offset=0)

    async def copy_in(self, sql: str, blocks: Iterable[bytes]) -> int:
        """Send COPY data as it is; returns the rows copied."""
        self.pgconn.send_query(sql.encode())
        self._check((await self._wait(generators.execute(self.pgconn)))[-1])
        for block in blocks:
            view = memoryview(block)
            for at in range(0, len(block), _COPY_BLOCK):
                await self._wait(generators.copy_to(self.pgconn, view[at : at + _COPY_BLOCK], flush=True))
        try:
            result = await self._wait(generators.copy_end(self.pgconn, None))
        except psycopg.Error as error:
            await self._drain()
            raise translate(error, at=self.access.system) from error
        affected = result.command_tuples or 0
        await self._drain()
        return affected

    async def _pipeline(self, commands: list[Command], offset: int = 1) -> list[int]:
        pgconn = self.pgconn
        pgconn.enter_pipeline_mode()
        try:
            for command in commands:
                statement = command.statement
                if statement.types:
                    formats = [_BINARY] * len(command.params)
                    pgconn.send_query_prepared(statement.name.encode(), command.params, formats, _BINARY)
                else:
                    pgconn.send_query_params(statement.sql.encode(), [])
            pgconn.pipeline_sync()
            results = await self._wait(_exchange(pgconn))
            self._first_failure(results, offset)
        finally:
            if pgconn.status == pq.ConnStatus.OK:
                pgconn.exit_pipeline_mode()
        return [result.command_tuples or 0 for result in results[offset : len(results) - offset]]

    def _first_failure(self, results: list[pq.abc.PGresult], offset: int) -> None:
        for index, result in enumerate(results):
            if result.status in _FAILED:
                raise StepFailed(index - offset, self._problem(result))

    def _check(self, result: pq.abc.PGresult) -> None:
        if result.status in _FAILED:
            raise self._problem(result)

    def _problem(self, result: pq.abc.PGresult) -> Problem:
        field = pq.DiagnosticField
        state, message = _text(result.error_field(field.SQLSTATE)), _text(result.error_field(field.MESSAGE_PRIMARY))
        facts = {
            "constraint": _text(result.error_field(field.CONSTRAINT_NAME)),
            "table": _text(result.error_field(field.TABLE_NAME)),
            "column": _text(result.error_field(field.COLUMN_NAME)),
        }
        known = {name: value for name, value in facts.items() if value}
        return from_state(state, message or "no message", at=self.access.system, **known)

    async def _drain(self) -> None:
        await self._wait(generators.fetch_many(self.pgconn))

    async def _wait(self, generator: PQGen[Result]) -> Result:
        try:
            return await waiting.wait_async(generator, self.pgconn.socket, interval=5)
        except (psycopg.Error, OSError) as error:
            if isinstance(error, psycopg.Error) and error.sqlstate:
                raise  # the server's answer, which the caller translates; the connection lives
            raise ServerAway(f"{self.access.system}: {str(error).strip() or 'the connection ended'}") from error
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


def translate_connect(error: Exception, access: Access) -> Exception:
    """A Problem for a failed connect: libpq gives no SQLSTATE then, so a refused login is told by its words."""
    text = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    refused = ("password authentication failed", "no pg_hba.conf entry", "no password supplied", "does not exist")
    if any(words in text for words in refused):
        return from_state("28000", text, at=access.system)
    return ServerAway(f"{access.system}: {text}")


def _exchange(pgconn: pq.abc.PGconn) -> PQGen[list[pq.abc.PGresult]]:
    # Read while writing: a server whose answers nobody takes stops reading, and both sides would wait for ever.
    while pgconn.flush():
        ready = yield waiting.WAIT_RW
        if ready & waiting.READY_R:
            pgconn.consume_input()
    results: list[pq.abc.PGresult] = []
    while True:
        while pgconn.is_busy():
            while not (yield waiting.WAIT_R):
                continue
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)


def _text(value: bytes | None) -> str | None:
    return None if value is None else bytes(value).decode(errors="replace")


BEGIN = Command(Statement("begin", "begin"))
COMMIT = Command(Statement("commit", "commit"))
