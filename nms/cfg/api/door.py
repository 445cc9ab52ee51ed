"""The door of cfg: who comes in is the actor of all that is noted, and who is turned away is noted too."""

import re
import time
from collections.abc import Callable
from typing import Any, Final

from fastapi import Request, Response

from nms.cfg.audit import Act, Actor, AuditRepository, acting, note_refused
from nms.common import log, router
from nms.common.guard import identify
from nms.common.problem import Problem
from nms.common.router import GuardedRoute
from nms.common.web import address_of

REFUSALS: Final = frozenset({403, 409, 412, 429})
"""Statuses of attempts that are noted: too few rights, another state than was thought, too often."""
ACTIONS: Final = {
    "PUT /changesets": "changeset.apply",
    "POST /rollback": "revision.rollback",
    "PUT /secrets/{name}": "secret.set",
    "DELETE /secrets/{name}": "secret.remove",
    "POST /systems/{name}/probe": "system.probe",
    "POST /secrets/rotation": "secret.rotate",
    "POST /plans": "plan.keep",
    "POST /plans/{plan}/apply": "plan.apply",
}
"""What a route is for, in the words of the audit; every route that writes has a line."""
OTHER: Final = "route.ask"
"""What is noted of any other route, with the route itself among the facts."""
QUIET_SECONDS: Final = 900.0
ATTEMPTS: Final = 10_000

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Attempts:
    """How often the same was refused to the same one since that was last quiet for 15 minutes, by one app."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted: dict[tuple[str, ...], tuple[int, float]] = {}

    def count(self, *key: str) -> int:
        """Which attempt this one is, from 1 on; the longest quiet of too many are forgotten."""
        now = self._clock()
        earlier, last = self._counted.pop(key, (0, now))
        number = earlier + 1 if now - last < QUIET_SECONDS else 1
        self._counted[key] = number, now
        if len(self._counted) > ATTEMPTS:
            del self._counted[next(iter(self._counted))]
        return number


class NotedRoute(GuardedRoute):
    """A route of cfg. Of refusals that repeat the 1st, 2nd, 4th, 8th ... are noted, so that none can fill the disk."""

    def get_route_handler(self) -> Any:
        """FastAPI's handler, with an actor."""
        handler, asked = super().get_route_handler(), f"{','.join(sorted(self.methods or ()))} {self.path}"

        async def handle(request: Request) -> Response:
            caller = await identify(request)
            actor = Actor(caller.name, await address_of(request), log.fact("request_id") or "")
            with acting(actor):
                try:
                    response: Response = await handler(request)
                except Problem as problem:
                    if problem.status in REFUSALS:
                        await _note(actor, asked, request, problem)
                    raise
                return response

        return handle


class Router(router.Router):
    """A router of such routes; every router of cfg is one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=NotedRoute, **options)


async def _note(actor: Actor, asked: str, request: Request, problem: Problem) -> None:
    action = ACTIONS.get(asked, OTHER)
    attempts: Attempts = request.app.state.attempts
    number = attempts.count(actor.name, asked, problem.code)
    if number.bit_count() > 1:
        return
    facts = {"route": asked, "code": problem.code, "attempts": number}
    act = Act(action, _subject_of(request), facts=facts | {"scope": problem.scope} if problem.status == 403 else facts)
    await note_refused(await AuditRepository.open(), act)


def _subject_of(request: Request) -> str:
    """What the path names; a name that nothing can have is left out."""
    return "/".join(str(value) for value in request.path_params.values() if _NAME.fullmatch(str(value)))
