"""The crew of a worker process: claims runs, keeps their leases, runs their handlers, hears cancels."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any

from nms.common import clock
from nms.common.lease import Claimed, LeaseLost, Stop
from nms.common.listen import listen
from nms.common.order import AnyRunRepository, RunState
from nms.common.problem import Problem, Retry
from nms.common.schedule import enqueue_due
from nms.common.waiting import first_of

log = logging.getLogger(__name__)

Handler = Callable[[Claimed], Awaitable[None]]

ASIDE_SIZE = 1_000
POLL_SECONDS = 1.0
WATCH_SECONDS = 0.5
CRASH_TRIES = 10
"""An exception without retry advice (a bug) is tried this often before the run has failed."""
KEEP_SECONDS, PURGE_SECONDS = 30 * 86400.0, 600.0


class HandlerCrashed(Problem):
    """The code of a run failed in a way that nobody foresaw."""

    status, code, retry, title = 500, "handler-crashed", Retry.LATER, "The run failed unexpectedly"
    remedy = "Look into the log of the worker at this time; `nms runs` shows the run, and retrying it is safe."


class Crew:
    """Works on runs of the kinds in `handlers`, at most `size` at a time, until told to stop.

    A handler that returns has succeeded, unless it was asked to stop: then its run is given back (shutdown) or
    cancelled. `lease` is in seconds; a dead worker's runs are taken over one lease and a second later.
    """

    grace: Mapping[Stop, float] = {Stop.CANCELLED: 10.0, Stop.SHUTDOWN: 8.0, Stop.LOST: 2.0}
    """Seconds that a handler has to stop by itself before its task is cancelled."""
    aside: Set[str] = frozenset()
    """Kinds of runs that only wait for something: they take none of the `size` places, but have some of their own."""

    def __init__(
        self,
        repository: AnyRunRepository,
        handlers: Mapping[str, Handler],
        *,
        worker: str,
        size: int,
        lease: float = 15.0,
    ) -> None:
        self.worker = worker
        self._repository = repository
        self._handlers = dict(handlers)
        self._size = size
        self._lease = lease
        self._held: dict[int, _Held] = {}
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then every handler is asked to stop and its run is given back."""
        duties = [
            asyncio.create_task(listen(self._repository.connection, "nms_run", self._hear)),
            asyncio.create_task(self._repeat(self._renew, lambda: min(self._lease / 3, self._shortest()))),
            asyncio.create_task(self._repeat(self._watch, lambda: WATCH_SECONDS)),
            asyncio.create_task(self._repeat(self._purge, lambda: PURGE_SECONDS)),
        ]
        try:
            while not stop.is_set():
                self._wake.clear()
                await self._guarded(self._claim)
                await first_of(stop, self._wake, timeout=POLL_SECONDS)
        finally:
            try:
                await self._disband()
            finally:
                for duty in duties:
                    duty.cancel()
                await asyncio.gather(*duties, return_exceptions=True)

    async def _claim(self) -> None:
        kinds = list(self._handlers)
        await self._repository.end_dead(kinds, list(self._held))
        await enqueue_due(self._repository, kinds)
        aside = sum(held.claimed.run.kind in self.aside for held in self._held.values())
        await self._take([kind for kind in kinds if kind not in self.aside], self._size - len(self._held) + aside)
        await self._take([kind for kind in kinds if kind in self.aside], ASIDE_SIZE - aside)

    async def _take(self, kinds: list[str], room: int) -> None:
        if not kinds or room <= 0:
            return
        asked_at = clock.monotonic()
        runs = await self._repository.claim(kinds, self.worker, list(self._held), room, self._lease)
        for run in runs:
            held = _Held(Claimed(self._repository, run), asked_at + self._lease)
            self._held[run.id] = held
            held.task = asyncio.create_task(self._work(held), name=f"run-{run.id}")

    async def _work(self, held: "_Held") -> None:
        """Run one handler to its end and write what became of it; never raises but when cancelled."""
        claimed = held.claimed
        handling = asyncio.create_task(_call(self._handlers[claimed.run.kind], claimed))
        try:
            await self._await_end(claimed, handling)
            await self._settle(held, handling.result())
        except Exception:
            log.exception(
                "run %s: its outcome could not be written; it is taken over when its lease ends", claimed.run.id
            )
        finally:
            handling.cancel()
            self._held.pop(claimed.run.id, None)
            self._wake.set()

    async def _await_end(self, claimed: Claimed, handling: asyncio.Task["Problem | None"]) -> None:
        stopping = asyncio.create_task(claimed.stopping.wait())
        try:
            await asyncio.wait({handling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not handling.done() and claimed.reason is not None:
                await asyncio.wait({handling}, timeout=self.grace[claimed.reason])
            while not handling.done():
                handling.cancel()
                await asyncio.wait({handling}, timeout=1.0)
        finally:
            stopping.cancel()

    async def _settle(self, held: "_Held", problem: Problem | None) -> None:
        """Write the outcome; while the database is away, try until the lease is over."""
        failures = 0
        while held.claimed.reason is not Stop.LOST:
            try:
                await held.claimed.flush()
                await self._write_outcome(held.claimed, problem)
                return
            except LeaseLost:
                break
            except Problem as trouble:
                failures += 1
                if trouble.retry is Retry.NEVER or clock.monotonic() > held.deadline:
                    log.warning("run %s: its outcome could not be written: %s", held.claimed.run.id, trouble.code)
                    return
                await asyncio.sleep(clock.backoff(failures, base=0.1, cap=1.0))
        log.warning("run %s: the lease is lost, its outcome belongs to another worker", held.claimed.run.id)

    async def _write_outcome(self, claimed: Claimed, problem: Problem | None) -> None:
        if claimed.reason is Stop.CANCELLED:
            await claimed.cancel(None if problem is None else _facts_of(problem))
        elif problem is not None and _is_final(problem, claimed.run.attempts):
            await claimed.fail(_facts_of(problem))
        elif claimed.reason is Stop.SHUTDOWN:
            await claimed.release()
        elif problem is None:
            await claimed.succeed()
        else:
            delay = delay_of(problem, claimed.run.attempts)
            log.warning("run %s: %s, tried again in %.1f s", claimed.run.id, problem.code, delay)
            await claimed.postpone(delay, _facts_of(problem))
            asyncio.get_running_loop().call_later(delay, self._wake.set)

    def _hear(self, payload: str) -> None:
        """React to `<state> <id> <kind>`; an empty payload means that something may have been missed."""
        state, _, rest = payload.partition(" ")
        number, _, kind = rest.partition(" ")
        if not payload or kind in self._handlers:
            self._wake.set()
        if state == RunState.CANCELLING and number.isdigit() and (held := self._held.get(int(number))):
            held.claimed.stop(Stop.CANCELLED)

    async def _watch(self) -> None:
        """Look for cancels that no notification told of."""
        if self._held:
            for id_, epoch in await self._repository.list_cancelling(list(self._held)):
                if (held := self._held.get(id_)) and held.claimed.epoch == epoch:
                    held.claimed.stop(Stop.CANCELLED)

    async def _renew(self) -> None:
        """Renew every lease; a run that has another epoch now, or could not be renewed in time, is lost."""
        held = dict(self._held)
        if not held:
            return
        asked_at = clock.monotonic()
        try:
            fences = {id_: item.claimed.epoch for id_, item in held.items()}
            async with asyncio.timeout(self._lease / 3):
                found = await self._repository.renew(fences, self._lease)
        except (Problem, TimeoutError) as trouble:
            log.warning("leases could not be renewed: %s", type(trouble).__name__)
            for item in held.values():
                if clock.monotonic() > item.deadline:
                    item.claimed.stop(Stop.LOST)
            return
        for id_, item in held.items():
            epoch, state, renewed = found.get(id_, (0, RunState.FAILED, False))
            if renewed:
                item.deadline = asked_at + self._lease
            if epoch != item.claimed.epoch or state not in (RunState.RUNNING, RunState.CANCELLING):
                item.claimed.stop(Stop.LOST)
            elif state is RunState.CANCELLING:
                item.claimed.stop(Stop.CANCELLED)

    def _shortest(self) -> float:
        """Seconds to the next renewal: soon when a lease is close to its end."""
        left = min((item.deadline - clock.monotonic() for item in self._held.values()), default=self._lease)
        return max(0.1, left / 2)

    async def _purge(self) -> None:
        await self._repository.purge(older_than=KEEP_SECONDS)

    async def _disband(self) -> None:
        for held in self._held.values():
            held.claimed.stop(Stop.SHUTDOWN)
        tasks = [held.task for held in self._held.values() if held.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, duty: Callable[[], Awaitable[None]], pause: Callable[[], float]) -> None:
        while True:
            await self._guarded(duty)
            await asyncio.sleep(pause())

    async def _guarded(self, duty: Callable[[], Awaitable[None]]) -> None:
        """Nothing that goes wrong in one duty may end the crew."""
        try:
            await duty()
        except Problem as problem:
            log.warning("crew %s: %s", self.worker, problem.code)
        except Exception:
            log.exception("crew %s: a duty failed", self.worker)


class _Held:
    """A claimed run, the end of its lease on our own clock, and the task that works on it."""

    def __init__(self, claimed: Claimed, deadline: float) -> None:
        self.claimed = claimed
        self.deadline = deadline
        self.task: asyncio.Task[None] | None = None


def delay_of(problem: Problem, attempts: int) -> float:
    """Seconds until a failed run is tried again; `retry_after` among the problem's facts is a lower bound."""
    base, cap = (0.1, 5.0) if problem.retry is Retry.NOW else (1.0, 60.0)
    return max(clock.backoff(attempts, base=base, cap=cap), float(problem.facts.get("retry_after") or 0))


def _is_final(problem: Problem, attempts: int) -> bool:
    return problem.retry is Retry.NEVER or (isinstance(problem, HandlerCrashed) and attempts >= CRASH_TRIES)


def _facts_of(problem: Problem) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(json.dumps(problem.to_dict(), default=str))
    return facts


async def _call(handler: Handler, claimed: Claimed) -> Problem | None:
    """The problem a handler ended with; whatever it raises, its neighbours go on."""
    try:
        await handler(claimed)
    except Problem as problem:
        return problem
    except asyncio.CancelledError:
        return None if claimed.reason is not None else HandlerCrashed("The handler was cancelled from within.")
    except (Exception, SystemExit) as error:
        log.exception("run %s: the handler crashed", claimed.run.id)
        return HandlerCrashed(f"The handler raised {type(error).__name__}.", exception=type(error).__name__)
    return None
