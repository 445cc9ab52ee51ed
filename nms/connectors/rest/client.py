"""One HTTP client of a REST API: named by its login, at the pace of its budget, patient where that is safe."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self
from weakref import WeakSet, WeakValueDictionary

from nms.common import clock
from nms.common.budget import Budget, opened_budget
from nms.common.document.rest import RestSystem
from nms.common.egress.egress import Egress
from nms.common.egress.exchange import Answer, Caps, Request
from nms.common.egress.problems import RemoteProblem
from nms.common.egress.shared import get_egress
from nms.common.problem import Retry
from nms.common.rate_advice import pause
from nms.common.settings import get_settings
from nms.connectors.rest.ask import Ask, fill, locate, origin_of
from nms.connectors.rest.judge import Following, after_read, after_write, is_good, is_limit, judge
from nms.connectors.rest.login import Login, open_login
from nms.connectors.rest.pace import PATIENCE, Pace
from nms.connectors.rest.problems import OutcomeUnknown

__all__ = ["Answer", "Ask", "Client", "fill"]

TRIES: Final = 4
"""A request is sent so often before its Problem leaves; whoever opens the pipeline anew waits longer each time."""


class Gate:
    """What all clients of a system in one process share: how many requests are under way, the pace, the login."""

    def __init__(self, system: RestSystem, login: Login) -> None:
        self.slots = asyncio.Semaphore(system.concurrency)
        self.pace = Pace(system, origin_of(system.url))
        self.login = login


_gates: WeakValueDictionary[tuple[int, str], Gate] = WeakValueDictionary()


class Client:
    """Asks a remote; make one with `async with Client.opened(system) as client`, any number of tasks may use it.

    `under_way` are the tasks whose request is at the remote: of what the others wait for, nothing was sent.
    """

    def __init__(self, system: RestSystem, egress: Egress, budget: Budget, gate: Gate) -> None:
        self.system = system
        self.gate = gate
        self.requests = 0
        self.unchanged = 0
        self.repeated = 0
        self.under_way: set[asyncio.Task[Any] | None] = set()
        self._begun: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._egress = egress
        self._budget = budget
        self._caps = Caps(answer=system.timeout, idle=min(30.0, system.timeout), body=system.page_limit)

    @classmethod
    @asynccontextmanager
    async def opened(cls, system: RestSystem) -> AsyncIterator[Self]:
        """A client with the egress, the budgets and the login of this process; raises SecretMissing."""
        async with opened_budget(get_settings()) as budget:
            client = cls(system, get_egress(), budget, _gate(system))
            try:
                yield client
            finally:
                await client.gate.login.settle()

    async def get(self, ask: Ask) -> Answer:
        """The answer to a safe request: 2xx, or 304; asked again up to three times where that may help.

        Raises the Problems of `judge`, of egress, RemoteLimited (with the fact `wait`) instead of waiting for more than
        a minute, RemoteLoginRefused when a new login is refused, too. To be cancelled at any time.
        """
        return await self._persist(ask, safe=True)

    async def send(self, ask: Ask, *, repeat: bool = True) -> Answer:
        """The answer to a write, whatever its status below 500 (and 501, 505); waits for its turn.

        Sent again only while it certainly had no effect: not a byte left, 401 (once, with a new login), 408, 425, 429
        and 503 with Retry-After. Raises OutcomeUnknown where it may have had one, RemoteLimited, RemoteLoginRefused,
        and where nothing was sent the Problems of egress with `sent` false. With `repeat` false what the remote put off
        (408, 425, 429, 503) is an unknown outcome, too, told when the wait is over: some do the work all the same.
        """
        return await self._persist(ask, safe=False, repeat=repeat)

    def has_begun(self) -> bool:
        """Whether the last request of this task left at least once, also where it was cancelled."""
        return asyncio.current_task() in self._begun

    def facts(self) -> dict[str, Any]:
        """What it did and what it waits for, as JSON; `waiting` in seconds."""
        pace = self.gate.pace
        waiting = max(0.0, pace.waiting - clock.monotonic())
        return {
            "requests": self.requests,
            "unchanged": self.unchanged,
            "repeated": self.repeated,
            "limited": pace.limited,
            "waiting": round(waiting, 1),
        }

    async def _persist(self, ask: Ask, *, safe: bool, repeat: bool = True) -> Answer:
        url = locate(self.system.url, ask)
        attempt, renewed = 1, False
        if task := asyncio.current_task():
            self._begun.discard(task)
        while True:
            try:
                answer, login = await self._once(ask, url)
            except RemoteProblem as problem:
                await self._meet(problem, ask, attempt, safe=safe)
            else:
                following = after_read(answer) if safe else after_write(answer)
                if following is Following.TAKE:
                    return answer
                if following is Following.UNKNOWN:
                    raise self._unknown(ask, str(answer.status))
                if answer.status == 401 and not renewed and await self.gate.login.renew(login):
                    renewed = True
                    continue
                if following is Following.REFUSE or attempt == TRIES:
                    raise judge(answer, self.system.url, url)
                await self._stand_back(answer, attempt)
                if not repeat:
                    raise self._unknown(ask, str(answer.status))
            attempt += 1
            self.repeated += 1

    async def _meet(self, problem: RemoteProblem, ask: Ask, attempt: int, *, safe: bool) -> None:
        """Wait for the next attempt after one that brought no whole answer; raises when there is none."""
        sent, reason = problem.facts["sent"], problem.facts["reason"]
        if sent and not safe:
            raise self._unknown(ask, reason) from problem
        if problem.retry is Retry.NEVER or attempt == TRIES:
            raise problem
        # A connection that was kept and that the remote had closed meanwhile says nothing about how it is.
        if attempt > 1 or reason not in ("closed", "broken"):
            await self._pause(attempt)

    async def _once(self, ask: Ask, url: str) -> tuple[Answer, Mapping[str, str]]:
        """Send once when it is one's turn; gives the headers of the login, too."""
        async with self.gate.slots:
            await self.gate.pace.turn(self._budget)
            # After the wait: a token may be over by then.
            login = await self.gate.login.headers()
            request = Request(ask.method, url, self._headers(ask, login), ask.body, self._caps)
            self.requests += 1
            answer = await self._sent(request)
            self.unchanged += answer.status == 304
            return answer, login

    async def _sent(self, request: Request) -> Answer:
        task = asyncio.current_task()
        assert task
        self.under_way.add(task)
        self._begun.add(task)
        try:
            answer = await self._egress.send(request)
            if is_good(answer):
                await self.gate.pace.heed(self._budget, answer)
            return answer
        finally:
            self.under_way.discard(task)

    def _headers(self, ask: Ask, login: Mapping[str, str]) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if ask.body:
            headers["content-type"] = "application/json"
        for more in (self.system.headers, ask.headers, login):
            headers.update((name.lower(), value) for name, value in more.items())
        return headers

    async def _stand_back(self, answer: Answer, attempt: int) -> None:
        if not is_limit(answer):
            await self._pause(attempt)
            return
        wait = await self.gate.pace.hold(self._budget, answer, attempt)
        if wait.asked > PATIENCE:
            raise self.gate.pace.told(wait.asked)

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(pause(attempt, None, base=0.5, cap=10.0))

    def _unknown(self, ask: Ask, reason: str) -> OutcomeUnknown:
        origin = self.gate.pace.origin
        return OutcomeUnknown(
            f"{origin}: nobody knows whether {ask.method} had an effect ({reason}).",
            reason=reason,
            sent=True,
            origin=origin,
            method=ask.method,
        )


def _gate(system: RestSystem) -> Gate:
    """The gate of a system in this event loop: a document that differs in nothing that matters has the same."""
    same = system.model_dump_json(include={"name", "url", "login", "rate", "concurrency"})
    key = (id(asyncio.get_running_loop()), same)
    gate = _gates.get(key)
    if gate is None:
        gate = _gates[key] = Gate(system, open_login(system))
    return gate
