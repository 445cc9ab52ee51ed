"""What PostgreSQL and its driver complain about, translated once into Problems."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg

from nms.common.problem import Problem, Retry, Unavailable
from nms.common.waiting import is_cancelled

SERVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors that only asyncpg raises."""

DRIVER_ERRORS = (*SERVER_ERRORS, OSError)
"""What a call of asyncpg may raise; `TimeoutError` is an `OSError`."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer, is starting, stopping or full."""

    code, title = "database-unavailable", "The database does not answer"
    remedy = "It is tried again by itself; look whether the server of the DSN runs and can be reached."


class DatabaseRefused(Unavailable):
    """The server does not let us in: login, password, database name or its access rules."""

    code, title = "database-refused", "The database refuses the login"
    remedy = "Check user, password and database name of the DSN, and pg_hba.conf of the server."


class TransactionConflict(Problem):
    """Another transaction was in the way: deadlock, serialisation failure or a schema that just changed."""

    status, code, retry, title = 503, "transaction-conflict", Retry.NOW, "Another transaction was in the way"
    remedy = "Repeat the transaction; it is meant to be repeated."


class LockTimeout(Problem):
    """A lock or a statement took longer than allowed."""

    status, code, retry, title = 503, "lock-timeout", Retry.LATER, "The database is busy with something else"
    remedy = "Try again; when it stays, look in pg_stat_activity for who holds the lock."


class Duplicate(Problem):
    """A row with this unique value exists; `constraint` names which."""

    status, code, title = 409, "duplicate", "It exists already"
    remedy = "Read what is there, or choose another name."


class ReferenceBroken(Problem):
    """A row that is referred to is missing, or one that is still referred to was to go."""

    status, code, title = 409, "reference-broken", "Something else refers to it, or what it refers to is missing"
    remedy = "Create what is referred to first; delete what refers to it first."


TOO_LARGE: Final = "54000"
"""The state of a text that is too long for an index or for full text search."""


class ValueRefused(Problem):
    """A value has the wrong form, is out of range or breaks a rule of its table."""

    status, code, title = 422, "value-refused", "The database refuses a value"
    remedy = "Correct the value and send it again."


class RightMissing(Problem):
    """The login of this role lacks a right."""

    status, code, title = 500, "right-missing", "The database login lacks a right"
    remedy = "Grant the role's login its rights on schema and tables, then try again."


class SchemaOutdated(Problem):
    """A table, column or function that the code relies on is not there."""

    status, code, retry, title = 503, "schema-outdated", Retry.LATER, "The database schema does not fit this version"
    remedy = "Run `nms db up`."


class DatabaseFailed(Problem):
    """The database objected in a way that has no name of its own; `sqlstate` tells which."""

    status, code, title = 500, "database-failed", "The database objected"
    remedy = "Look into the log of this process; the SQLSTATE is explained in appendix A of PostgreSQL's manual."


_BY_STATE: dict[str, type[Problem]] = {
    "25006": DatabaseUnavailable,  # read-only: a fail-over is under way
    "53300": DatabaseUnavailable,
    "55000": DatabaseFailed,
    "55P03": LockTimeout,
    "57014": LockTimeout,
    "3D000": DatabaseRefused,
    "40001": TransactionConflict,
    "40P01": TransactionConflict,
    "0A000": DatabaseFailed,
    TOO_LARGE: ValueRefused,
    "23505": Duplicate,
    "23503": ReferenceBroken,
    "23001": ReferenceBroken,
    "42501": RightMissing,
    "42P01": SchemaOutdated,
    "42703": SchemaOutdated,
    "42883": SchemaOutdated,
    "42704": SchemaOutdated,
    "3F000": SchemaOutdated,
}
_BY_CLASS: dict[str, type[Problem]] = {
    "08": DatabaseUnavailable,
    "22": ValueRefused,
    "23": ValueRefused,
    "28": DatabaseRefused,
    "40": TransactionConflict,
    "53": DatabaseUnavailable,
    "57": DatabaseUnavailable,
    "58": DatabaseUnavailable,
}


def translate(error: BaseException) -> Problem:
    """The Problem that stands for an error of asyncpg; its sentence holds no SQL, value, path or secret."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return TransactionConflict("The schema changed under this transaction.")
    if isinstance(error, asyncpg.PostgresError):
        return _translate_state(error)
    if isinstance(error, asyncpg.DataError):
        return ValueRefused("A value does not fit the type of its parameter.")
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable("The database did not answer in time.")
    if isinstance(error, asyncpg.InterfaceError) and "connection" not in str(error) and "pool" not in str(error):
        return DatabaseFailed("The database driver was used in a wrong way.")
    return DatabaseUnavailable("The connection to the database is gone or cannot be made.")


def _translate_state(error: asyncpg.PostgresError) -> Problem:
    state = str(error.sqlstate or "")
    kind = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or DatabaseFailed
    facts: dict[str, Any] = {"sqlstate": state}
    for name in ("constraint_name", "table_name", "column_name"):
        value = getattr(error, name, None)
        if value:
            facts[name.removesuffix("_name")] = value
    return kind(_sentence(kind, facts), **facts)


def _sentence(kind: type[Problem], facts: dict[str, Any]) -> str:
    rule = facts.get("constraint")
    return f"{kind.title} ({rule})." if rule else f"{kind.title}."


def instead_of(error: BaseException) -> BaseException:
    """What is raised in the place of an error of asyncpg: its Problem, or the cancellation whose place it took.

    A connection that breaks while a cancelled task puts it down ends that task with its own error: a loop that
    outlives errors would go on, and whoever waits for the end of the task would wait for ever.
    """
    return asyncio.CancelledError() if is_cancelled() else translate(error)


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of asyncpg into Problems; the original stays as the cause, for the log."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise instead_of(error) from error
