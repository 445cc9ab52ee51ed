"""Schedules: runs that are ordered by the clock, once per due moment however many workers look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from nms.common.db.repositories import BaseRepository
from nms.common.order import Order, Unique, place_order, queries
from nms.common.problem import Malformed, Pointer

LATE = timedelta(seconds=60)
"""A moment that is longer ago was missed: no worker looked in time."""


class Missed(StrEnum):
    """What to do about moments that passed while no worker looked: one run for all of them, or none."""

    ONCE = "once"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A named rhythm, either `cron` (five fields, in `zone`) or `every`, for runs of a kind and subject."""

    name: str
    kind: str
    subject: str
    cron: str | None = None
    every: timedelta | None = None
    zone: str = "UTC"
    missed: Missed = Missed.ONCE
    payload: Mapping[str, Any] = field(default_factory=dict)

    def next_after(self, moment: datetime) -> datetime:
        """The first due moment after the given one; raises Malformed for a rhythm that never comes or is none."""
        if (self.cron is None) == (self.every is None):
            raise _malformed(self.name, "cron", "Give either cron or every.")
        if self.every is not None:
            if self.every <= timedelta(0):
                raise _malformed(self.name, "every", "The interval must be longer than nothing.")
            return moment + self.every
        try:
            return next(CronSim(str(self.cron), moment.astimezone(ZoneInfo(self.zone))))
        except (ZoneInfoNotFoundError, ValueError):
            raise _malformed(self.name, "zone", f"There is no time zone {self.zone}.") from None
        except (CronSimError, StopIteration):
            raise _malformed(self.name, "cron", f"{self.cron!r} is no cron expression that ever comes.") from None

    def next_on_grid(self, due: datetime, moment: datetime) -> datetime:
        """The first due moment after `moment`, in the rhythm of the one that was due."""
        if self.every is None:
            return self.next_after(moment)
        return due + self.every * ((moment - due) // self.every + 1)


def _malformed(name: str, key: str, why: str) -> Malformed:
    return Malformed(f"The schedule {name} has no rhythm: {why}", pointers=[Pointer(f"/{key}", why)])


async def set_schedule(tx: BaseRepository, schedule: Schedule) -> None:
    """Make or change a schedule; raises Malformed. Its first moment is the next one of its rhythm."""
    next_at = schedule.next_after(await queries.get_time(tx.connection))
    await queries.upsert_schedule(
        tx.connection,
        name=schedule.name,
        kind=schedule.kind,
        subject=schedule.subject,
        payload=dict(schedule.payload),
        cron=schedule.cron,
        every=schedule.every,
        zone=schedule.zone,
        missed=schedule.missed,
        next_at=next_at,
    )


async def remove_schedule(tx: BaseRepository, name: str) -> bool:
    """Remove a schedule; tells whether it was there. Runs it ordered stay."""
    return bool(await queries.delete_schedule(tx.connection, name=name))


async def enqueue_due(repository: BaseRepository, kinds: Sequence[str]) -> int:
    """Order the runs of every due schedule of these kinds; gives their number.

    A subject that still has a live run gets no second one: a slow run does not pile up successors.
    """
    if not await queries.count_due_schedules(repository.connection, kinds=list(kinds)):
        return 0
    ordered = 0
    async with repository.transaction() as tx:
        for row in await queries.claim_due_schedules(tx.connection, kinds=list(kinds)):
            schedule = _of(row)
            if schedule.missed is Missed.ONCE or row["now"] - row["next_at"] <= LATE:
                await place_order(tx, Order(schedule.kind, schedule.subject, schedule.payload, Unique.EXISTING))
                ordered += 1
            await queries.update_schedule_next(
                tx.connection, name=schedule.name, next_at=schedule.next_on_grid(row["next_at"], row["now"])
            )
    return ordered


def _of(row: Mapping[str, Any]) -> Schedule:
    names = ("name", "kind", "subject", "cron", "every", "zone", "payload")
    return Schedule(**{name: row[name] for name in names}, missed=Missed(row["missed"]))
