"""What a remote refuses to be read (4xx) for now: since when, and when it is asked for again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nms.common import clock
from nms.common.problem import Problem, Retry
from nms.connectors.rest.problems import RemoteLoginRefused

LONGEST_SECONDS: Final = 300.0
FIRST_SECONDS: Final = 1.0
LOGIN_SECONDS: Final = 20.0
"""A login that is refused again and again may be locked by the remote."""
REMEDY: Final = (
    "It is asked again by itself, every five minutes at least, and at once by `nms pipelines run PIPELINE`; nothing is "
    "deleted meanwhile. When it lasts, look at the rights of the login, and at `url`, `path` and `query`."
)


@dataclass(slots=True)
class Refusal:
    """One resource that is refused: why, since when, how often in a row, and when it is asked for again."""

    problem: Problem
    since: datetime
    times: int
    again_at: float


class Refused:
    """The resources that a remote refuses now. One that it refuses again is left alone for twice as long."""

    def __init__(self) -> None:
        self._known: dict[str, Refusal] = {}

    def note(self, name: str, problem: Problem) -> None:
        """A resource was refused."""
        before = self._known.get(name)
        times = 1 if before is None else before.times + 1
        first = LOGIN_SECONDS if isinstance(problem, RemoteLoginRefused) else FIRST_SECONDS
        pause = clock.backoff(times, base=first, cap=LONGEST_SECONDS)
        since = clock.now() if before is None else before.since
        self._known[name] = Refusal(problem, since, times, clock.monotonic() + pause)

    def forget(self, name: str) -> None:
        """A resource was read."""
        self._known.pop(name, None)

    def ask_all(self) -> None:
        """Wait for none of them any longer."""
        for one in self._known.values():
            one.again_at = 0.0

    @property
    def waiting(self) -> list[str]:
        """Those that are not to be asked for yet."""
        now = clock.monotonic()
        return [name for name, one in self._known.items() if one.again_at > now]

    @property
    def pause(self) -> float:
        """Seconds until one is to be asked for again."""
        return max(0.0, min((one.again_at for one in self._known.values()), default=0.0) - clock.monotonic())

    def trouble(self, above: Mapping[str, Iterable[str]]) -> dict[str, Any] | None:
        """The Problem of the one that is refused for longest, as it is told; None where none is.

        Its `resources` are all that are not read now: those that are refused, and what has any of them above it.
        """
        oldest = min(self._known.values(), key=lambda one: one.since, default=None)
        if oldest is None:
            return None
        lacking = set(self._known)
        while more := {name for name, those in above.items() if lacking.intersection(those)} - lacking:
            lacking |= more
        return {
            **oldest.problem.to_dict(),
            "retry": Retry.LATER.value,
            "remedy": REMEDY,
            "resources": sorted(lacking),
            "since": oldest.since.isoformat(timespec="seconds"),
        }
