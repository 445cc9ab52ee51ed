"""The feed over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import Caller, requires
from nms.common.paging import DEFAULT_LIMIT, LARGEST_LIMIT
from nms.common.problem import Malformed, Pointer
from nms.common.router import Router
from nms.common.web import stopping
from nms.warehouse.feed import Sight, Wanted, await_feed, read_feed
from nms.warehouse.problems import PositionAhead
from nms.warehouse.repository import FeedRepository

router = Router(tags=["feed"])

LARGEST_SEQUENCE, LARGEST_OFFSET, LONGEST_WAIT = 2**63 - 1, 10_000, 60
Repository = Annotated[FeedRepository, Depends(get_db_repository(FeedRepository))]
READ = requires("entities:read", of_any=True)


class Change(BaseModel):
    """What a record is now, or that it is gone."""

    entity: str = Field(examples=["posts"])
    key: str = Field(description="The last part of its path, percent-encoded.", examples=["7"])
    sequence: int = Field(description="Its place in the order of changes.", examples=[4711])
    op: Literal["upsert", "delete"]
    source: str = Field(description="The system it is from; `local`: it was made here.", examples=["crm"])
    at: datetime
    record: dict[str, Any] | None = Field(description="The record; null where it is gone.")


class Feed(BaseModel):
    """The next changes, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "items": [
                    {
                        "entity": "posts",
                        "key": "7",
                        "sequence": 4711,
                        "op": "upsert",
                        "source": "local",
                        "at": "2026-11-22T08:00:00Z",
                        "record": {"id": 7, "title": "Hello"},
                    }
                ],
                "next": 4711,
            }
        }
    )

    items: list[Change]
    next: int = Field(description="What to give as `since` to go on from here.")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of the feed is asked for, and how long to wait for it."""

    wanted: Wanted
    wait: float


async def read_asked(
    since: Annotated[
        int | None, Query(ge=0, le=LARGEST_SEQUENCE, description="Only what came behind: `next` of the last answer.")
    ] = None,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT, allow_inf_nan=False, description="Seconds to wait for a change.")
    ] = 0,
    offset: Annotated[
        int, Query(ge=0, le=LARGEST_OFFSET, description="Leave out so many from the beginning, without `since`.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT, description="Changes of one answer at most.")] = DEFAULT_LIMIT,
) -> Asked:
    """The dependency behind the feed; raises Malformed."""
    if offset and (since is not None or wait):
        told = "this counts from the beginning: leave out `since` and `wait`, or take `since` instead"
        raise Malformed("The place in the feed is named twice.", pointers=[Pointer("/offset", told, "query")])
    return Asked(Wanted(since or 0, limit, offset), wait)


@router.get("/data", summary="Follow all entities", responses=problems(PositionAhead), response_model=Feed)
async def read_data(
    request: Request, repository: Repository, asked: Annotated[Asked, Depends(read_asked)], caller: Caller = READ
) -> Response:
    """Changes of every entity that the caller may read, in one order, deletions too; each record once, as it is now.

    Ask again with `since` as `next` says: no change is missed, and none of them comes behind it. With `wait` an answer
    that would be empty comes as soon as there is a change, or when the time is over.
    """
    sight = Sight(request.app.state.entities, caller)
    if not asked.wait:
        page = await read_feed(repository, sight, asked.wanted)
    else:
        async with gone(request) as left:
            page = await await_feed(repository, sight, asked.wanted, asked.wait, stopping(request), left)
    return Response(page.body, media_type="application/json")


@asynccontextmanager
async def gone(request: Request) -> AsyncIterator[asyncio.Event]:
    """An event that is set when nobody waits for the answer any more."""
    left = asyncio.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left.set()

    watching = asyncio.create_task(watch(), name="watch-caller")
    try:
        yield left
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
