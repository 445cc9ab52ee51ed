"""A duty of the worker by itself: what goes wrong in one is told and tried again, and the others go on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from nms.common import clock
from nms.common.metrics import Counter
from nms.common.problem import Problem
from nms.common.waiting import first_of

log = logging.getLogger(__name__)

HEALTHY_SECONDS: Final = 60.0
"""A duty that went well for so long begins to count its failures anew."""
LONGEST_PAUSE: Final = 30.0

_failed = Counter("nms_inbox_duty_failed_total", "Duties of the worker that failed and were started again", ("duty",))


async def keep_up(name: str, duty: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Work a duty until it is done or it is told to stop; one that fails is started again after a pause."""
    failures = 0
    while not stop.is_set():
        began = clock.monotonic()
        try:
            await duty()
            return
        except Problem as problem:
            facts = {"duty": name, "code": problem.code, "remedy": problem.remedy}
            log.error("the duty `%s` of the inbox is started again: %s", name, problem.detail, extra=facts)
        except Exception:
            log.exception("the duty `%s` of the inbox failed and is started again", name, extra={"duty": name})
        _failed.labels(name).inc()
        failures = 1 if clock.monotonic() - began > HEALTHY_SECONDS else failures + 1
        await first_of(stop, timeout=clock.backoff(failures, base=1.0, cap=LONGEST_PAUSE))
