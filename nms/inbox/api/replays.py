"""Replays over HTTP: count what would be passed on once more, order it, see what became of it."""

from typing import Annotated, Any

from fastapi import Body, Depends, Query, Request, Response, status

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router
from nms.common.run import RunExists, RunRepository, RunState
from nms.inbox.api.events import Relayed
from nms.inbox.problems import EndpointUnknown
from nms.inbox.replay import KIND, Counted, Replay, ReplayOrder, ReplayRepository, count_replay, order_replay

router = Router(prefix="/replays", tags=["replays"])

Repository = Annotated[ReplayRepository, Depends(get_db_repository(ReplayRepository))]
Runs = Annotated[RunRepository, Depends(get_db_repository(RunRepository))]
_EXAMPLES: Any = {
    "a day": {"value": {"endpoint": "shop", "since": "2026-11-21T00:00:00Z", "until": "2026-11-22T00:00:00Z"}},
    "one customer, counted": {"value": {"endpoint": "shop", "path": "customer.id == '7'", "dry_run": True}},
    "slowly": {"value": {"endpoint": "shop", "type": "push", "rate": 50}},
}
Ordered = Annotated[ReplayOrder, Body(openapi_examples=_EXAMPLES)]
READ, WRITE = requires("events:read"), requires("events:write")


@router.post(
    "",
    dependencies=[WRITE],
    status_code=status.HTTP_202_ACCEPTED,
    summary="Pass events on once more",
    response_model=Replay,
    responses={
        200: {"model": Counted, "description": "What would be passed on"},
        **problems(EndpointUnknown, RunExists),
    },
)
async def start_replay(
    repository: Repository, order: Ordered, relayed: Relayed, request: Request, response: Response
) -> Replay | Response:
    """The events that match, under their ids and in the order in which they came; what comes from now on is no part.

    `Location` is the run. With `dry_run` the answer is 200 with their number, and nothing is passed on.
    """
    if order.dry_run:
        counted = await count_replay(repository, order, relayed=relayed)
        return Response(counted.model_dump_json(), media_type="application/json")
    run = await order_replay(repository, order, relayed=relayed)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/tasks/{run.id}"
    return Replay.of(run)


@router.get("", dependencies=[READ], summary="List replays, newest first")
async def list_replays(
    runs: Runs,
    paging: Paging,
    endpoint: Annotated[str | None, Query(max_length=100, description="Only of this endpoint.")] = None,
    state: Annotated[RunState | None, Query(description="Only replays in this state.")] = None,
) -> Page[Replay]:
    """Replays with what was asked for and how far they are; `/tasks` cancels and retries them."""
    before = paging.after[0] if paging.after else None
    rows = await runs.list(kind=KIND, subject=endpoint, state=state, before=before, size=paging.size)
    return paging.page(rows, key=lambda run: [run.id], show=Replay.of)
