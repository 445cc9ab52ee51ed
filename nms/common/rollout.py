"""Rollouts: every process that follows the documents tells which revision it runs."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from pydantic import BaseModel, Field

from nms.common.clock import monotonic
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.problem import Problem
from nms.common.waiting import first_of

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
GONE_SECONDS = 15.0
KEPT_SECONDS: Final = 3_600.0
"""How long one that is gone is still shown."""
PURGE_SECONDS: Final = 600.0
LEAVE_SECONDS: Final = 1.0

_queries = load("nms.common")


class RolloutState(StrEnum):
    """How a process stands to the newest revision."""

    CURRENT = "current"
    BEHIND = "behind"
    STARTING = "starting"
    GONE = "gone"


class Rollout(BaseModel):
    """A process of a role, and the revision that it runs."""

    id: UUID
    role: Annotated[str, Field(examples=["sync"])]
    host: str
    pid: int
    started_at: datetime
    revision: Annotated[int | None, Field(description="null while it has read none")]
    taken_at: Annotated[datetime | None, Field(description="when it took that revision")]
    seen_at: Annotated[datetime, Field(description="when it was last heard of; every 5 s while it lives")]
    newest: Annotated[int, Field(description="the newest revision")]
    state: RolloutState


class RolloutRepository(BaseNmsRepository):
    """Rollouts of the database `nms`."""

    async def list_rollouts(self, after: Sequence[Any] | None, size: int) -> list[Rollout]:
        """Processes by role, behind a role and an id."""
        after_role, after_id = after or (None, None)
        rows = await _queries.list_rollouts(
            self.connection,
            after_role=after_role,
            after_id=None if after_id is None else UUID(after_id),
            gone=GONE_SECONDS,
            kept=KEPT_SECONDS,
            size=size,
        )
        return [Rollout(**row) for row in rows]

    async def upsert(self, report: "Report") -> None:
        """Tell that a process is there, and what it runs."""
        await _queries.upsert_rollout(
            self.connection,
            id=report.id,
            role=report.role,
            host=socket.gethostname(),
            pid=os.getpid(),
            revision=report.revision,
        )

    async def delete(self, report: "Report") -> None:
        """Tell that it is there no more."""
        await _queries.delete_rollout(self.connection, id=report.id)

    async def purge(self) -> None:
        """Delete those that are gone for long."""
        await _queries.purge_rollouts(self.connection, older=KEPT_SECONDS)


class Report:
    """What one role of this process tells of itself."""

    def __init__(self, role: str) -> None:
        self.id, self.role = uuid4(), role
        self.revision: int | None = None
        self._news = asyncio.Event()

    def take(self, revision: int) -> None:
        """From now on it runs this revision."""
        if revision != self.revision:
            self.revision = revision
            self._news.set()

    async def tell(self) -> None:
        """Tell at each revision and every few seconds; while the database is away nothing is told."""
        purge_at = 0.0
        while True:
            self._news.clear()
            try:
                repository = await RolloutRepository.open()
                await repository.upsert(self)
                if monotonic() >= purge_at:
                    await repository.purge()
                    purge_at = monotonic() + PURGE_SECONDS
            except Problem as problem:
                log.debug("the revision that runs could not be told: %s", problem.code)
            await first_of(self._news, timeout=BEAT_SECONDS)


@asynccontextmanager
async def reported(role: str) -> AsyncIterator[Report]:
    """A report that is told for as long as the block lasts, and taken back at its end."""
    report = Report(role)
    telling = asyncio.create_task(report.tell(), name=f"rollout-{role}")
    try:
        yield report
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        with suppress(Problem, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await (await RolloutRepository.open()).delete(report)
