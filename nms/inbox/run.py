"""The run of a replay: passes events on once more, in small steps, at its rate, none of them twice."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Final

from nms.common import clock
from nms.common.faults import point
from nms.common.run import Claimed
from nms.common.waiting import first_of
from nms.inbox.replay import COUNT_PIECE, PIECE, PIECE_BYTES, Found, ReplayRepository, Span, find_matching
from nms.inbox.selection import Selection

STEP_SECONDS: Final = 0.1
"""What goes at once where a rate is asked for: at most what comes due in so long."""
SETTLE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replay stands: the number of the last event looked at, how many were, how many were passed on."""

    number: int
    looked_at: int = 0
    passed_on: int = 0
    total: int | None = None

    def behind(self, number: int, looked_at: int, passed_on: int) -> "Place":
        """The place after a step up to this number."""
        return replace(self, number=number, looked_at=self.looked_at + looked_at, passed_on=self.passed_on + passed_on)

    def progress(self) -> dict[str, float | str | None]:
        """What observers see of it."""
        return {
            "current": self.looked_at,
            "total": self.total,
            "unit": "events",
            "phase": "replaying",
            "passed_on": self.passed_on,
        }


class Pace:
    """Lets so many events go per second; what was not used is not saved up."""

    def __init__(self, rate: float | None, seconds: clock.Seconds = clock.monotonic) -> None:
        self._rate = rate
        self._seconds = seconds
        self._due = seconds()

    def step(self) -> int:
        """How many may go at once."""
        return PIECE if self._rate is None else max(1, min(PIECE, int(self._rate * STEP_SECONDS)))

    def wait(self) -> float:
        """Seconds until the next may go."""
        return max(0.0, self._due - self._seconds())

    def spend(self, count: int) -> None:
        """Count what went."""
        if self._rate is not None:
            self._due = max(self._due, self._seconds()) + count / self._rate


class Replayer:
    """The handler of replays."""

    def __init__(self, repository: ReplayRepository) -> None:
        self._repository = repository

    async def replay(self, claimed: Claimed) -> None:
        """Go on from the checkpoint until all that there was when it was ordered is passed on; raises LeaseLost."""
        wanted = Selection.model_validate(claimed.run.payload["asked"])
        span = Span.model_validate(claimed.run.payload["span"])
        place = Place(**claimed.checkpoint) if claimed.checkpoint else Place(span.after)
        pace = Pace(claimed.run.payload["rate"])
        if place.total is None:
            place = replace(place, total=await self._count(claimed, wanted, span))
        while not claimed.stopping.is_set():
            # What was on its way when the replay was ordered may have been acknowledged before: it is waited for.
            settled = min(await self._repository.get_settled(), span.upto)
            piece_bytes = None if wanted.path is None else PIECE_BYTES
            found = await self._repository.list_matching(wanted, (place.number, settled), PIECE, piece_bytes)
            if found:
                place = await self._pass_on(claimed, place, (found, await find_matching(found, wanted.path), pace))
            elif settled == span.upto:
                await claimed.report(place.progress())
                break
            else:
                await first_of(claimed.stopping, timeout=SETTLE_SECONDS)

    async def _pass_on(self, claimed: Claimed, place: Place, piece: tuple[list[Found], list[Found], Pace]) -> Place:
        found, matching, pace = piece
        for step, number in _steps(found, matching, pace.step()):
            if pace.wait() and await first_of(claimed.stopping, timeout=pace.wait()):
                return place
            seen = sum(place.number < one.number <= number for one in found)
            place = place.behind(number, seen, len(step))
            await self._write(claimed, place, step)
            pace.spend(len(step))
        return place

    async def _write(self, claimed: Claimed, place: Place, step: list[Found]) -> None:
        """The step and the checkpoint behind it in one transaction: whoever takes over repeats nothing."""
        async with self._repository.transaction() as tx:
            await claimed.report(place.progress(), asdict(place), tx=tx)
            await tx.insert_again(claimed.run.id, claimed.run.subject, step)
            point("replay.before_commit")
        point("replay.after_commit")

    async def _count(self, claimed: Claimed, wanted: Selection, span: Span) -> int:
        total, after = 0, span.after
        while not claimed.stopping.is_set():
            count, last = await self._repository.count_matching(wanted, (after, span.upto), COUNT_PIECE)
            total += count
            if last is None or count < COUNT_PIECE:
                break
            after = last
        return total


def _steps(found: list[Found], matching: list[Found], size: int) -> Iterator[tuple[list[Found], int]]:
    """What goes at once, and the number of the last event that was looked at by then."""
    for at in range(0, len(matching), size):
        step = matching[at : at + size]
        yield step, step[-1].number
    if not matching or matching[-1] is not found[-1]:
        yield [], found[-1].number
