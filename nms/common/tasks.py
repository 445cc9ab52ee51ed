"""The `/tasks` API, the same in every room that has runs: list, get, follow, cancel, retry."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, ServerSentEvent, format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from nms.common.answers import problems
from nms.common.clock import monotonic
from nms.common.guard import Caller, identify, requires
from nms.common.order import (
    EVERY_RUN,
    AnyRunRepository,
    Run,
    RunEnded,
    RunExists,
    RunNotRetryable,
    RunSight,
    RunState,
    request_cancel,
    retry,
)
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.common.waiting import first_of
from nms.common.web import stopping
from nms.common.whole import WHOLE

LOOK_SECONDS = 0.25
PING_SECONDS = 10.0
"""How long a reader hears nothing at most; proxies and readers take a way that is silent for a minute for dead."""
EVENTS: Final = "text/event-stream"
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {EVENTS: {"schema": {"type": "string"}}}, "headers": {"Vary": {"schema": {"type": "string"}}}}
}
_PING: Final = ServerSentEvent(comment="ping")
_UNBUFFERED: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Vary": "Accept"}


class Task(BaseModel):
    """A run as its observers see it."""

    id: int
    kind: str
    subject: str
    state: RunState
    progress: dict[str, Any] | None = Field(
        None, description="`current`, `total`, `unit`, `phase`, `rate` (units/s) and `eta` (s), as far as known."
    )
    attempts: int
    worker: str | None = None
    problem: dict[str, Any] | None = Field(None, description="Why the last attempt failed (RFC 9457 members).")
    due_at: datetime
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @classmethod
    def of(cls, run: Run) -> "Task":
        """A run without its payload and checkpoint, which may hold data."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class CancelOrder(BaseModel):
    """Which run is to be cancelled."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[int, Field(ge=1, le=2**63 - 1, description="The id of the run.", examples=[7]), WHOLE]


def see_all(_caller: Caller, _scope: str) -> RunSight:
    """The sight of a room where whoever is let in sees every run."""
    return EVERY_RUN


class TaskRights(NamedTuple):
    """The scopes that reading and acting ask for, and what a caller sees who is let in by one of them.

    Whoever holds `also` of some instance may read too; a run that `sight` does not show is not there.
    """

    read: str = "tasks:read"
    write: str = "tasks:write"
    also: str | None = None
    sight: Callable[[Caller, str], RunSight] = see_all


_RIGHTS = TaskRights()
Asking = Annotated[Caller, Depends(identify)]
"""Who asks, for what the guard of the route let in already."""
RunId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The id of the run.")]


def tasks_router(get_repository: Callable[[], Awaitable[AnyRunRepository]], rights: TaskRights = _RIGHTS) -> Router:
    """The router of `/tasks` over one room's runs; `get_repository` is `get_db_repository(RunRepository)` or alike."""
    router = Router(prefix="/tasks", tags=["tasks"])
    _add_reading(router, get_repository, rights)
    _add_acting(router, get_repository, rights)
    return router


async def _find(repository: Any, run_id: int, sight: RunSight) -> Run:
    run: Run = await repository.get(run_id)
    if not sight.shows(run):
        raise NotFound(f"There is no run {run_id}.", run=run_id)
    return run


def _add_reading(router: Router, get_repository: Callable[..., Any], rights: TaskRights) -> None:
    Runs = Annotated[Any, Depends(get_repository)]  # noqa: N806
    guard = requires(rights.read, also=rights.also)

    async def find(run_id: RunId, repository: Runs, caller: Asking) -> Run:
        return await _find(repository, run_id, rights.sight(caller, rights.read))

    @router.get("", dependencies=[guard], summary="List runs, newest first")
    async def list_tasks(
        paging: Paging,
        repository: Runs,
        caller: Asking,
        kind: Annotated[str | None, Query()] = None,
        subject: Annotated[str | None, Query()] = None,
        state: Annotated[RunState | None, Query()] = None,
    ) -> Page[Task]:
        page = (paging.after[0] if paging.after else None, paging.size)
        sight = rights.sight(caller, rights.read)
        rows = await repository.list_seen(sight, kind=kind, subject=subject, state=state, page=page)
        return paging.page(rows, key=lambda run: [run.id], show=Task.of)

    @router.get("/{run_id}", dependencies=[guard], summary="One run", response_model=Task, responses=_EVENTS)
    async def get_task(request: Request, run: Annotated[Run, Depends(find)], repository: Runs) -> Task | Response:
        """The run as it is now; to `Accept: text/event-stream` the same events as `/tasks/{run_id}/progress`."""
        if EVENTS not in request.headers.get("accept", "").lower():
            return Task.of(run)
        return StreamingResponse(_events(request, run, repository), media_type=EVENTS, headers=_UNBUFFERED)

    @router.get(
        "/{run_id}/progress",
        dependencies=[guard],
        summary="Follow a run",
        response_class=EventSourceResponse,
    )
    async def follow_task(
        request: Request, run: Annotated[Run, Depends(find)], repository: Runs
    ) -> AsyncIterator[ServerSentEvent]:
        """Server-sent events: `progress` at each change, `ended` at the end, each with the run as data."""
        async for task in _changes(request, run, repository):
            yield _PING if task is None else ServerSentEvent(event=_event_of(task), data=task)


def _add_acting(router: Router, get_repository: Callable[..., Any], rights: TaskRights) -> None:
    Runs = Annotated[Any, Depends(get_repository)]  # noqa: N806
    guard = requires(rights.write)

    async def find(repository: Any, run_id: int, caller: Caller) -> int:
        return (await _find(repository, run_id, rights.sight(caller, rights.write))).id

    @router.post(
        "/{run_id}/cancel",
        status_code=202,
        dependencies=[guard],
        summary="Cancel a run",
        responses=problems(RunEnded),
    )
    async def cancel_task(run_id: RunId, repository: Runs, caller: Asking) -> Task:
        """Ends a waiting run at once; a running one hears it within a second and is `cancelling` until it ends."""
        return Task.of(await request_cancel(repository, await find(repository, run_id, caller)))

    @router.post(
        "/cancel",
        status_code=202,
        dependencies=[guard],
        summary="Cancel a run by its id",
        responses=problems(NotFound, RunEnded),
    )
    async def cancel_by_id(order: CancelOrder, repository: Runs, caller: Asking) -> Task:
        """The same as `/tasks/{run_id}/cancel`, for those who have the id in a body."""
        return Task.of(await request_cancel(repository, await find(repository, order.id, caller)))

    @router.post(
        "/{run_id}/retry",
        status_code=202,
        dependencies=[guard],
        summary="Retry a run",
        responses=problems(RunExists, RunNotRetryable),
    )
    async def retry_task(run_id: RunId, repository: Runs, caller: Asking) -> Task:
        """Queues a failed, cancelled or waiting run for now; it goes on from its checkpoint."""
        return Task.of(await retry(repository, await find(repository, run_id, caller)))


def _event_of(task: Task) -> str:
    return "ended" if task.state.ended else "progress"


async def _events(request: Request, run: Run, repository: Any) -> AsyncIterator[bytes]:
    async for task in _changes(request, run, repository):
        if task is None:
            yield KEEPALIVE_COMMENT
        else:
            yield format_sse_event(data_str=task.model_dump_json(), event=_event_of(task))


async def _changes(request: Request, run: Run, repository: Any) -> AsyncIterator[Task | None]:
    """The run now, and after each change, until it has ended, is deleted, or the process stops.

    None where there was nothing to tell for long: a reader who vanished is only noticed when something is sent.
    """
    shown, told, stop = None, monotonic(), stopping(request)
    while True:
        task = Task.of(run)
        if task != shown or monotonic() - told >= PING_SECONDS:
            yield task if task != shown else None
            shown, told = task, monotonic()
        if task.state.ended or await first_of(stop, timeout=LOOK_SECONDS):
            return
        try:
            run = await repository.get(run.id)
        except NotFound:
            return
