"""Turns of writers: who waits for others of its process holds no connection meanwhile, so that readers have some."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

from nms.cfg.repository import DocumentRepository
from nms.cfg.secret import SecretRepository

R = TypeVar("R", DocumentRepository, SecretRepository)

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def in_turn() -> AsyncIterator[bool]:
    """Wait until no other writer of this process is at it; gives whether there was one."""
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    waits = turn.locked()
    async with turn:
        yield waits


@asynccontextmanager
async def writing(repository: R) -> AsyncIterator[R]:
    """A transaction, in turn, in which nobody else stores a revision or a secret."""
    async with in_turn(), repository.transaction() as tx:
        await tx.lock_revisions()
        yield tx
