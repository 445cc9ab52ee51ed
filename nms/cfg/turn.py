"""Turns of writers: who waits for others of its process holds no connection meanwhile, so that readers have some."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

from nms.cfg.repository import DocumentRepository
from nms.cfg.secret import SecretRepository
from nms.common.db.pool import ACQUIRE_SECONDS
from nms.common.db.problems import LockTimeout

R = TypeVar("R", DocumentRepository, SecretRepository)

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def in_turn() -> AsyncIterator[bool]:
    """Wait until no other writer of this process is at it; gives whether there was one.

    Raises LockTimeout when the turn does not come within the time that one would wait for a connection.
    """
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    waits = turn.locked()
    try:
        # One whose client is long gone would be stored much later, where somebody holds the first one up.
        async with asyncio.timeout(ACQUIRE_SECONDS):
            await turn.acquire()
    except TimeoutError:
        raise LockTimeout("Other writers of revisions and secrets are at it for long.") from None
    try:
        yield waits
    finally:
        turn.release()


@asynccontextmanager
async def writing(repository: R) -> AsyncIterator[R]:
    """A transaction, in turn, in which nobody else stores a revision or a secret."""
    async with in_turn(), repository.transaction() as tx:
        await tx.lock_revisions()
        yield tx
