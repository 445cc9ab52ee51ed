"""What a process knows of a table, kept up to date: read when it starts, then whenever something tells of a change."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from nms.common.listen import listen
from nms.common.problem import Problem
from nms.common.waiting import first_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between looks where nothing tells of a change."""
UNREAD_SECONDS = 1.0
"""Between looks as long as nothing was ever read."""


class Followed(Protocol):
    """What is kept up to date; `name` is its word for the log, `channel` what PostgreSQL tells changes on."""

    name: str
    channel: str

    @property
    def is_read(self) -> bool:
        """Whether it was ever read."""
        ...

    async def look(self) -> None:
        """Take over what is there now; raises a Problem where it cannot be read."""
        ...

    async def source(self) -> Any:
        """The pool of its database."""
        ...


F = TypeVar("F", bound=Followed)


@asynccontextmanager
async def followed(what: F) -> AsyncIterator[F]:
    """Something that is read now and followed from then on; a role starts without its database, and `/readyz` tells."""
    try:
        await what.look()
    except Problem as problem:
        log.warning("the %s could not be read yet: %s", what.name, problem.detail)
    following = asyncio.create_task(_follow(what), name=f"follow-{what.name}")
    try:
        yield what
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(what: Followed) -> None:
    wake = asyncio.Event()
    ear: asyncio.Task[None] | None = None
    try:
        while True:
            wake.clear()
            try:
                await what.look()
                if ear is None or ear.done():
                    ear = asyncio.create_task(_listen(what, wake), name=f"listen-{what.name}")
            except Problem as problem:
                log.warning("the %s could not be read: %s", what.name, problem.detail)
            await first_of(wake, timeout=LOOK_SECONDS if what.is_read else UNREAD_SECONDS)
    finally:
        if ear is not None:
            ear.cancel()
            await asyncio.gather(ear, return_exceptions=True)


async def _listen(what: Followed, wake: asyncio.Event) -> None:
    await listen(await what.source(), what.channel, lambda _: wake.set())
