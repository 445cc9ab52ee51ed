"""One kept session of the superuser for each server: a session of its own costs more than what it asks."""

import atexit
from threading import Lock
from typing import Any

import psycopg
from psycopg import sql


class Administrator:
    """A session that is opened on first use, and again after the server was away."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = Lock()
        self._session: psycopg.Connection[tuple[Any, ...]] | None = None

    def run(self, *statements: sql.Composed) -> list[tuple[Any, ...]]:
        """Run statements, each committed by itself, and answer the rows of the last, where it has any."""
        with self._lock:
            try:
                return self._run(statements)
            except psycopg.OperationalError:
                if self._session is None or not self._session.broken:
                    raise
                self._close()
                return self._run(statements)

    def close(self) -> None:
        """End the session."""
        with self._lock:
            self._close()

    def _run(self, statements: tuple[sql.Composed, ...]) -> list[tuple[Any, ...]]:
        if self._session is None:
            self._session = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None)
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            cursor = self._session.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        return rows

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


_kept: dict[str, Administrator] = {}


def administrator_of(dsn: str) -> Administrator:
    """The one of a server in this process."""
    return _kept.setdefault(dsn, Administrator(dsn))


def dismiss(dsn: str) -> None:
    """End the session with a server that is about to end."""
    if (kept := _kept.pop(dsn, None)) is not None:
        kept.close()


@atexit.register
def dismiss_all() -> None:
    """End all sessions."""
    for dsn in list(_kept):
        dismiss(dsn)
