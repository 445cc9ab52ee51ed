"""Pipelines over HTTP: see where they stand, pause, resume, resync."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response, status

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.router import Router
from nms.common.run import Run
from nms.common.tasks import Task
from nms.sync.models import Pipeline
from nms.sync.pipeline import Started, get_pipeline, pause, resume, resync
from nms.sync.problems import NoRounds, PipelineIsHalted, PipelineIsPaused, PipelineMoved
from nms.sync.repository import SyncRepository
from nms.sync.round import ask_round

router = Router(prefix="/pipelines", tags=["pipelines"])

Repository = Annotated[SyncRepository, Depends(get_db_repository(SyncRepository))]
Name = Annotated[
    str,
    Path(
        pattern="^[a-z]([a-z0-9-]*[a-z0-9])?$",
        max_length=40,
        description="The name of a pipeline.",
        examples=["subscriptions"],
    ),
]
Generation = Annotated[
    int | None,
    Query(
        ge=1,
        lt=1 << 63,
        description="The generation you saw; when another one has begun meanwhile, the answer is 409. "
        "With it a request that is sent twice copies once.",
        examples=[1],
    ),
]
READ, WRITE = requires("pipelines:read"), requires("pipelines:write")


@router.get("", dependencies=[READ], summary="List the pipelines")
async def list_pipelines(repository: Repository, paging: Paging) -> Page[Pipeline]:
    """Every pipeline by name, with its phase, lag, counts, position and problem."""
    rows = await repository.list_pipelines(paging.after[0] if paging.after else "", paging.size)
    return paging.page(rows, key=lambda row: (row.name,))


@router.get("/{name}", dependencies=[READ], summary="Read one pipeline")
async def read_pipeline(repository: Repository, name: Name) -> Pipeline:
    """Where the pipeline stands, at most half a second old while it is worked."""
    return await get_pipeline(repository, name)


@router.post("/{name}/pause", dependencies=[WRITE], summary="Hold a pipeline where it stands")
async def pause_pipeline(repository: Repository, name: Name) -> Pipeline:
    """Its position and slot stay, so that the source keeps its log for it; pausing twice changes nothing."""
    return await pause(repository, name)


@router.post(
    "/{name}/resume", dependencies=[WRITE], status_code=status.HTTP_202_ACCEPTED, summary="Let a pipeline go on"
)
async def resume_pipeline(repository: Repository, name: Name, request: Request, response: Response) -> Pipeline:
    """A paused or halted pipeline goes on from its position; `Location` is the run that works it."""
    return _accept(await resume(repository, name), request, response)


@router.post(
    "/{name}/resync",
    dependencies=[WRITE],
    status_code=status.HTTP_202_ACCEPTED,
    summary="Copy a pipeline's data anew and go on from there",
    responses=problems(PipelineMoved),
)
async def resync_pipeline(
    repository: Repository, name: Name, request: Request, response: Response, generation: Generation = None
) -> Pipeline:
    """A new generation begins: a new slot, every row copied anew, rows that the source no longer has removed.

    What is held in quarantine is dropped, since every record comes again. `Location` is the run that works it.
    """
    return _accept(await resync(repository, name, generation), request, response)


@router.post(
    "/{name}/run",
    dependencies=[WRITE],
    status_code=status.HTTP_202_ACCEPTED,
    summary="Begin a round now",
    responses=problems(NoRounds, PipelineIsPaused, PipelineIsHalted),
)
async def run_pipeline(repository: Repository, name: Name, request: Request, response: Response) -> Task:
    """For pipelines that work in rounds (poll, compare, pull); `Location` is a run that ends when the round has.

    Everything that the source had when you asked is then at the target, but for what quarantine holds.
    """
    run = await ask_round(repository, name)
    response.headers["Location"] = _place(run, request)
    return Task.of(run)


def _accept(started: Started, request: Request, response: Response) -> Pipeline:
    response.headers["Location"] = _place(started.run, request)
    return started.pipeline


def _place(run: Run, request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/tasks/{run.id}"
