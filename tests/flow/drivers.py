"""How the fault campaign drives a pipeline, and PostgreSQL's own subscription as the control of the campaign."""

from dataclasses import dataclass
from typing import Protocol

import asyncpg

from tests.flow.proof.records import TABLES
from tests.services.postgres import PostgresServer
from tests.waiting import eventually


@dataclass
class Sides:
    """The databases of one round; the login owns both."""

    source: PostgresServer
    target: PostgresServer
    own: PostgresServer
    database: str

    @property
    def source_dsn(self) -> str:
        return self.source.dsn(self.database)

    @property
    def target_dsn(self) -> str:
        return self.target.dsn(self.database)


class Driver(Protocol):
    """One pipeline over all tables of the proof, in the hands of killable workers."""

    points: tuple[str, ...]
    backfill_points: tuple[str, ...]
    """Named fault points that are passed always, and those that are passed only during the backfill."""

    async def begin(self, sides: Sides) -> None:
        """Start workers and the pipeline, backfill included; returns at once."""
        ...

    async def is_backfilled(self) -> bool:
        """Whether every table is copied; may raise while a server is down."""
        ...

    async def kill(self) -> None:
        """SIGKILL the worker that has the pipeline (any one when that cannot be told) and start another."""
        ...

    async def kill_at(self, point: str, nth: int) -> bool:
        """Let the worker that has the pipeline die at a named fault point; answers whether it got there."""
        ...

    async def hurry(self) -> None:
        """Let the backfill go on at full speed, where it was slowed."""
        ...

    async def freeze(self) -> None:
        """SIGSTOP the worker that has the pipeline."""
        ...

    async def thaw(self) -> None:
        """SIGCONT what was frozen."""
        ...

    async def explain(self) -> str:
        """What the pipeline says of itself, for a report of a stall."""
        ...

    async def complaints(self) -> list[str]:
        """Changes that the pipeline holds back because the target refused them: there must be none."""
        ...

    async def end(self) -> None:
        """Leave no process and no slot."""
        ...


class SubscriptionDriver:
    """PostgreSQL's own logical replication: a kill ends the apply worker's session."""

    points: tuple[str, ...] = ()
    backfill_points: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.sides: Sides | None = None

    async def begin(self, sides: Sides) -> None:
        self.sides = sides
        source = sides.source.superuser_dsn(sides.database)
        slot = f"proof_{sides.database}"
        await self._run(
            f"create subscription proof connection '{source}' publication proof with (slot_name = '{slot}')"
        )
        # Its copy does not outlive every kill (a table's slot is dropped before that is written down: 2 of some 25
        # campaigns hung there), so the control begins with the stream.
        await eventually(self.is_backfilled, 60)

    async def is_backfilled(self) -> bool:
        query = "select count(*) = $1 and bool_and(srsubstate = 'r') from pg_subscription_rel"
        return bool(await self._run(query, len(TABLES)))

    async def kill(self) -> None:
        query = "select count(pg_terminate_backend(pid)) from pg_stat_subscription where pid is not null"
        await self._run(query)

    async def kill_at(self, point: str, nth: int) -> bool:
        raise NotImplementedError("no fault points here")

    async def hurry(self) -> None:
        return

    async def freeze(self) -> None:
        raise NotImplementedError("a stopped apply worker would stop its server's shutdown")

    async def thaw(self) -> None:
        raise NotImplementedError

    async def complaints(self) -> list[str]:
        return []

    async def explain(self) -> str:
        assert self.sides is not None
        logs = [
            (server.directory / "log").read_text("utf-8", "replace")
            for server in (self.sides.source, self.sides.target)
        ]
        return "\n".join(line for log in logs for line in log.splitlines()[-20:])

    async def end(self) -> None:
        await self._run("drop subscription proof")

    async def _run(self, sql: str, *values: object) -> object:
        assert self.sides is not None
        connection = await asyncpg.connect(self.sides.target.superuser_dsn(self.sides.database), timeout=5)
        try:
            return await (connection.fetchval(sql, *values) if sql.startswith("select") else connection.execute(sql))
        finally:
            await connection.close()
