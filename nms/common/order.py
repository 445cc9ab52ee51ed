"""Runs as rows: their states, how they are ordered, listed, cancelled and retried (DESIGN 4.9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from nms.common.db.queries import load
from nms.common.db.repositories import BaseAuthRepository, BaseDwhRepository, BaseNmsRepository, BaseRepository
from nms.common.problem import NotFound, Problem, Retry

queries = load("nms.common")
ENQUEUE_TRIES = 5


class RunState(StrEnum):
    """Where a run stands; the database refuses every transition that is not one (trigger `run_check`)."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class Unique(StrEnum):
    """What to do when the subject has a live run of this kind already."""

    REJECT = "reject"
    EXISTING = "existing"
    ONE_MORE = "one_more"


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of claimed work; `epoch` is its fence, `place` says whether it stands behind another of its subject."""

    id: int
    kind: str
    subject: str
    state: RunState
    payload: dict[str, Any]
    progress: dict[str, Any] | None
    checkpoint: dict[str, Any] | None
    epoch: int
    worker: str | None
    attempts: int
    problem: dict[str, Any] | None
    due_at: datetime
    leased_until: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """A run from its row."""
        values = {item.name: record[item.name] for item in fields(cls)}
        return cls(**{**values, "state": RunState(values["state"])})


@dataclass(frozen=True, slots=True)
class Order:
    """Work that is wanted: at most one run of a kind and subject is at work at a time."""

    kind: str
    subject: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    unique: Unique = Unique.REJECT
    due_at: datetime | None = None


class RunExists(Problem):
    """The subject has a live run of this kind; `run` is its id."""

    status, code, title = 409, "run-exists", "There is such a run already"
    remedy = "Wait for the run, cancel it, or ask for `existing` or `one_more`."


class RunEnded(Problem):
    """The run is over, so that nothing can be cancelled."""

    status, code, title = 409, "run-ended", "The run is over"
    remedy = "Nothing is to be done; a failed or cancelled run can be retried."


class RunNotRetryable(Problem):
    """Only runs that wait for a retry, failed or were cancelled can be retried."""

    status, code, title = 409, "run-not-retryable", "The run cannot be retried"
    remedy = "Wait until it is over; a succeeded run is ordered anew instead."


class RunBusy(Problem):
    """Runs of this subject come and go faster than one could be ordered."""

    status, code, retry, title = 409, "run-busy", Retry.NOW, "The runs of this subject change all the time"
    remedy = "Order it again."


@dataclass(frozen=True, slots=True)
class RunSight:
    """Which runs somebody sees: of a kind that `kinds` names those of its subjects (None: all), and the `others`."""

    others: bool = True
    kinds: Mapping[str, Sequence[str] | None] = field(default_factory=dict)

    def shows(self, run: Run) -> bool:
        """Whether this run is seen."""
        subjects = self.kinds.get(run.kind)
        return (run.kind in self.kinds or self.others) if subjects is None else run.subject in subjects


EVERY_RUN = RunSight()
Runs = list[Run]
Fences = list[tuple[int, int]]


class RunStatements:
    """The statements on `common.run` for a repository of any of the three databases."""

    connection: Any

    async def get(self, id: int) -> Run:  # noqa: A002
        """One run; raises NotFound."""
        record = await queries.get_run(self.connection, id=id)
        if record is None:
            raise NotFound(f"There is no run {id}.", run=id)
        return Run.of(record)

    async def list(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        state: RunState | None = None,
        before: int | None = None,
        size: int = 50,
    ) -> Runs:
        """Runs, newest first, of ids below `before`."""
        return await self.list_seen(EVERY_RUN, kind=kind, subject=subject, state=state, page=(before, size))

    async def list_seen(
        self,
        sight: RunSight,
        *,
        kind: str | None = None,
        subject: str | None = None,
        state: RunState | None = None,
        page: tuple[int | None, int],
    ) -> Runs:
        """Those of them that are seen; a page is the id that they stand below, and how many."""
        shown = {"others": sight.others, "kinds": sight.kinds}
        rows = await queries.list_runs(
            self.connection, kind=kind, subject=subject, state=state, sight=shown, before=page[0], size=page[1]
        )
        return [Run.of(row) for row in rows]

    async def claim(self, kinds: Sequence[str], worker: str, held: Sequence[int], size: int, lease: float) -> Runs:
        """Take due runs and those of dead workers for `lease` seconds; ids in `held` are left alone."""
        rows = await queries.claim_runs(
            self.connection, kinds=list(kinds), worker=worker, held=list(held), size=size, lease=lease
        )
        return [Run.of(row) for row in rows]

    async def renew(self, fences: Mapping[int, int], lease: float) -> dict[int, tuple[int, RunState, bool]]:
        """Renew the leases of `{id: epoch}`; gives each run's epoch and state now, and whether it was renewed."""
        rows = await queries.renew_leases(self.connection, ids=list(fences), epochs=list(fences.values()), lease=lease)
        return {row["id"]: (row["epoch"], RunState(row["state"]), row["renewed"]) for row in rows}

    async def list_cancelling(self, ids: Sequence[int]) -> Fences:
        """Id and epoch of those runs whose cancel was requested."""
        return [(row["id"], row["epoch"]) for row in await queries.list_cancelling(self.connection, ids=list(ids))]

    async def end_dead(self, kinds: Sequence[str], held: Sequence[int]) -> int:
        """End the cancelled runs of dead workers; gives their number."""
        count: int = await queries.mark_dead_cancelled(self.connection, kinds=list(kinds), held=list(held))
        return count

    async def purge(self, *, older_than: float, size: int = 1000) -> int:
        """Delete up to `size` runs that ended more than `older_than` seconds ago; gives their number."""
        count: int = await queries.delete_ended_runs(self.connection, age=older_than, size=size)
        return count


class RunRepository(RunStatements, BaseNmsRepository):
    """Runs in the database `nms`."""


class AuthRunRepository(RunStatements, BaseAuthRepository):
    """Runs in the database `auth`."""


class DwhRunRepository(RunStatements, BaseDwhRepository):
    """Runs in the database `dwh`."""


AnyRunRepository = RunRepository | AuthRunRepository | DwhRunRepository


async def enqueue(
    tx: BaseRepository,
    kind: str,
    subject: str,
    *,
    payload: Mapping[str, Any] | None = None,
    unique: Unique = Unique.REJECT,
) -> Run:
    """Order a run that is due at once, in the caller's transaction; see `place_order`."""
    return await place_order(tx, Order(kind, subject, payload or {}, unique))


async def place_order(tx: BaseRepository, order: Order) -> Run:
    """Order a run in the caller's transaction.

    While the subject has a live run, REJECT raises RunExists, EXISTING gives that run, and ONE_MORE gives one that
    will start after now: the waiting one, or a new one behind the one at work.
    """
    for _ in range(ENQUEUE_TRIES):
        rows = await queries.list_live_runs(tx.connection, kind=order.kind, subject=order.subject)
        live = [Run.of(row) for row in rows]
        if live and order.unique is Unique.REJECT:
            raise RunExists(f"{order.subject} has a live run of kind {order.kind}.", run=live[0].id)
        if live and order.unique is Unique.EXISTING:
            return live[0]
        if live and (len(live) > 1 or live[0].state is RunState.QUEUED):
            return live[-1]
        place = 1 - rows[0]["place"] if rows else 0
        record = await queries.insert_run(
            tx.connection,
            kind=order.kind,
            subject=order.subject,
            place=place,
            payload=dict(order.payload),
            due_at=order.due_at,
        )
        if record is not None:
            return Run.of(record)
    raise RunBusy(f"The runs of {order.subject} change all the time.", subject=order.subject)


async def request_cancel(repository: BaseRepository, id: int) -> Run:  # noqa: A002
    """Cancel a waiting run at once, ask a running one to stop; raises NotFound and RunEnded."""
    record = await queries.update_cancelling(repository.connection, id=id)
    if record is not None:
        return Run.of(record)
    run = await _find(repository, id)
    if run.state is RunState.CANCELLING:
        return run
    raise RunEnded(f"Run {id} has {run.state}.", run=id, state=run.state.value)


async def retry(repository: BaseRepository, id: int) -> Run:  # noqa: A002
    """Queue a failed, cancelled or waiting run for now, with its checkpoint; raises RunExists, RunNotRetryable."""
    record = await queries.update_queued(repository.connection, id=id)
    if record is not None:
        return Run.of(record)
    run = await _find(repository, id)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        raise RunExists(f"{run.subject} has another live run of kind {run.kind}.", subject=run.subject)
    raise RunNotRetryable(f"Run {id} is {run.state}.", run=id, state=run.state.value)


async def _find(repository: BaseRepository, id: int) -> Run:  # noqa: A002
    return await RunRepository(repository.connection).get(id)
