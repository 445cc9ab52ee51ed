"""Pulls over HTTP: have a source brought here now, and see what became of it."""

from typing import Annotated

from fastapi import Depends, Path, Request, Response, status

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router
from nms.common.run import DwhRunRepository
from nms.common.tasks import Task
from nms.warehouse.problems import NothingToPull, SourceUnpulled
from nms.warehouse.pull import KIND, ask_pull, check_source
from nms.warehouse.repository import PullRepository

router = Router(prefix="/sync", tags=["sync"])

Repository = Annotated[PullRepository, Depends(get_db_repository(PullRepository))]
Runs = Annotated[DwhRunRepository, Depends(get_db_repository(DwhRunRepository))]
Source = Annotated[
    str,
    Path(
        pattern="^[a-z]([a-z0-9-]*[a-z0-9])?$",
        max_length=40,
        description="The name of a system that pipelines bring here.",
        examples=["crm"],
    ),
]
READ, WRITE = requires("pipelines:read"), requires("pipelines:write")


@router.post(
    "/{source}",
    dependencies=[WRITE],
    status_code=status.HTTP_202_ACCEPTED,
    summary="Pull a source now",
    responses=problems(SourceUnpulled, NothingToPull),
)
async def pull_source(repository: Repository, runs: Runs, source: Source, request: Request, response: Response) -> Task:
    """Begins a round of every pipeline from this system into the warehouse; `Location` is a run that ends with them.

    Everything that the source had when you asked is then here, but for what quarantine holds.
    """
    run = await ask_pull(repository, runs, source)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/tasks/{run.id}"
    return Task.of(run)


@router.get("/{source}", dependencies=[READ], summary="The last pulls of a source", responses=problems(SourceUnpulled))
async def list_pulls(repository: Repository, runs: Runs, source: Source, paging: Paging) -> Page[Task]:
    """Its runs, newest first, with how far they are and what went wrong."""
    await check_source(repository, runs, source)
    before = paging.after[0] if paging.after else None
    rows = await runs.list(kind=KIND, subject=source, before=before, size=paging.size)
    return paging.page(rows, key=lambda run: [run.id], show=Task.of)
