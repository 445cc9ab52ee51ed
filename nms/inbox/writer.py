"""The one writer of a process: what arrives while a commit is under way shares the next one.

No timer: a request that comes alone is stored at once. Several lanes, or a window of time, were measured to be slower.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from nms.common.problem import Problem, Retry, Unavailable
from nms.inbox.arrival import Arrival, Receipt
from nms.inbox.problems import InboxBusy

MOST_ARRIVALS = 512
MOST_BYTES = 8 * 1024 * 1024
"""A statement takes no more; what is left waits for the next."""
MOST_WAITING = 64 * 1024 * 1024
"""Bytes of events that wait for the statement under way; what comes beyond is refused."""
AWAY_SECONDS = 1.0
"""For so long after the database was away a request is refused before its body is read."""

Together = Sequence[Arrival]
Store = Callable[[Together], Awaitable[Sequence[Receipt]]]
Told = Callable[[Sequence[Receipt] | BaseException], None]
"""Takes what became of arrivals, once it is committed, or what storing them raised."""


class Lane:
    """Stores arrivals in the order in which they came; those that are put together are stored together or not at all.

    `store` writes and commits, or raises a Problem and has written nothing. `store_whole` does so for arrivals that
    were put together, and writes none of them where one is another body under a known key; they share no commit.
    """

    def __init__(self, store: Store, store_whole: Store) -> None:
        self._store = store
        self._store_whole = store_whole
        self._waiting: deque[tuple[Together, int, Told]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._size = 0
        self._away: tuple[Problem, float] | None = None

    def admit(self) -> None:
        """Raise why nothing can be stored just now: the database was away a moment ago, or too much waits for it."""
        if self._away is not None:
            problem, until = self._away
            if asyncio.get_running_loop().time() < until:
                raise problem.with_traceback(None)
        self._refuse_more()

    async def put(self, together: Together) -> Sequence[Receipt]:
        """What became of arrivals, once it is committed; raises what storing them raised, and InboxBusy.

        A caller who goes away leaves them to be stored all the same.
        """
        future: asyncio.Future[Sequence[Receipt]] = asyncio.get_running_loop().create_future()
        self.post(together, partial(_settle, future))
        return await future

    def post(self, together: Together, told: Told) -> None:
        """The same for who does not wait: `told` is called later, and must not raise; raises InboxBusy."""
        self._refuse_more()
        size = sum([len(one.body) + len(one.headers) for one in together])
        self._size += size
        self._waiting.append((together, size, told))
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name="inbox-lane")

    async def rest(self) -> None:
        """Wait until nothing is under way."""
        while self._task is not None:
            await asyncio.wait({self._task})

    def _refuse_more(self) -> None:
        if self._size > MOST_WAITING:
            raise InboxBusy(f"{self._size} bytes of events wait to be stored.")

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._write_some()
        finally:
            self._task = None

    async def _write_some(self) -> None:
        taken = self._take()
        try:
            receipts = iter(await self._store_twice([together for together, _, _ in taken]))
        except Problem as problem:
            await self._settle_failure(taken, problem)
            return
        except BaseException as error:
            for _, _, told in (*taken, *self._waiting):
                told(error)
            self._waiting.clear()
            self._size = 0
            raise
        self._away = None
        for together, _, told in taken:
            told([next(receipts) for _ in together])

    async def _store_twice(self, taken: Sequence[Together]) -> Sequence[Receipt]:
        """Store; what is meant to be repeated is repeated here, once, since a provider would wait long to do so."""
        try:
            return await self._store_all(taken)
        except Problem as problem:
            if problem.retry is not Retry.NOW:
                raise
            return await self._store_all(taken)

    async def _store_all(self, taken: Sequence[Together]) -> Sequence[Receipt]:
        if len(taken) == 1 and len(taken[0]) > 1:
            return await self._store_whole(taken[0])
        return await self._store([one for together in taken for one in together])

    async def _settle_failure(self, taken: Sequence[tuple[Together, int, Told]], problem: Problem) -> None:
        """One that cannot be stored must not take those along that came with it; a database that is away takes all."""
        if len(taken) == 1 or problem.retry is not Retry.NEVER:
            if isinstance(problem, Unavailable):
                self._away = problem, asyncio.get_running_loop().time() + AWAY_SECONDS
            for _, _, told in taken:
                told(problem)
            return
        for together, _, told in taken:
            try:
                receipts = await self._store_twice([together])
            except Problem as own:
                told(own)
            else:
                told(receipts)

    def _take(self) -> list[tuple[Together, int, Told]]:
        waiting = self._waiting
        taken = [waiting.popleft()]
        size = taken[0][1]
        while waiting and len(taken[0][0]) == len(waiting[0][0]) == 1:
            size += waiting[0][1]
            if len(taken) == MOST_ARRIVALS or size > MOST_BYTES:
                size -= waiting[0][1]
                break
            taken.append(waiting.popleft())
        self._size -= size
        return taken


def _settle(future: asyncio.Future[Sequence[Receipt]], told: Sequence[Receipt] | BaseException) -> None:
    if future.done():
        return
    if isinstance(told, BaseException):
        future.set_exception(told)
    else:
        future.set_result(told)
