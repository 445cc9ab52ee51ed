"""Readiness: asks every dependency at once and answers in time even when one of them hangs."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.db.problems import translated
from nms.common.db.queries import load
from nms.common.problem import Problem, Unavailable

ANSWER_SECONDS = 1.5
"""How long `/readyz` waits; what is not up by then is reported as away."""
GIVE_UP_SECONDS = 5.0
"""When a probe that hangs is given up, so that the next one sees a healed dependency."""

queries = load("nms.common")
_log = logging.getLogger(__name__)


class State(StrEnum):
    """How a dependency looks from this process."""

    UP = "up"
    DOWN = "down"


_LATE = {"state": State.DOWN, "code": "no-answer"}


class NotReady(Unavailable):
    """A dependency that this role cannot work without is away."""

    code, title = "not-ready", "This role is not ready"
    remedy = "Mend the dependency whose state is `down`; this role goes on by itself as soon as it answers."


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing a role needs: `probe` returns when it is well and raises when it is not.

    Without an optional dependency (`required=False`) the role is ready all the same, only less lively.
    """

    probe: Callable[[], Awaitable[Any]]
    required: bool = True


class Readiness:
    """Probes the dependencies of one role; callers that come together share the probes under way."""

    def __init__(self, dependencies: Mapping[str, Dependency]) -> None:
        self._dependencies = dependencies
        self._running: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def report(self) -> dict[str, dict[str, Any]]:
        """The state of each dependency, within ANSWER_SECONDS; raises NotReady when a required one is away."""
        tasks = {name: self._probing(name) for name in self._dependencies}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=ANSWER_SECONDS)
        states = {
            name: {**(task.result() if task.done() else _LATE), "required": self._dependencies[name].required}
            for name, task in tasks.items()
        }
        away = [name for name, state in states.items() if state["required"] and state["state"] == State.DOWN]
        if away:
            raise NotReady(f"{', '.join(away)} cannot be used now.", dependencies=states)
        return states

    def _probing(self, name: str) -> asyncio.Task[dict[str, Any]]:
        task = self._running.get(name)
        if task is None or task.done():
            probing = _probe(name, self._dependencies[name].probe)
            task = self._running[name] = asyncio.create_task(probing, name=f"probe-{name}")
        return task


async def _probe(name: str, probe: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        await asyncio.wait_for(probe(), GIVE_UP_SECONDS)
    except Problem as problem:
        return {"state": State.DOWN, "code": problem.code, "remedy": problem.remedy}
    except TimeoutError:
        return _LATE
    except Exception:
        _log.warning("the probe of %s failed", name, exc_info=True)
        return {"state": State.DOWN, "code": "probe-failed"}
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return {"state": State.UP, "milliseconds": milliseconds}


def database(kind: DSNType) -> Dependency:
    """The database of this DSN type: well when a pooled connection makes a round trip."""

    async def ping() -> None:
        pool = await get_pool(kind)
        with translated():
            async with pool.acquire(timeout=GIVE_UP_SECONDS / 2) as connection:
                try:
                    await asyncio.wait_for(queries.get_pulse(connection), GIVE_UP_SECONDS / 2)
                except TimeoutError:
                    # Giving it back would first wait for a server that does not answer.
                    connection.terminate()
                    raise

    return Dependency(ping)
