"""Where a pipeline stands among the events, and whether those behind it are the ones that it passed (pure)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from nms.common.flow import Position
from nms.connectors.inbox.problems import EventsDropped, InboxRestored


@dataclass(frozen=True, slots=True)
class Mark:
    """An event that was passed; another one under its number shows that time was turned back."""

    number: int
    id: UUID
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Up to `number` all events were read; `mark` is the newest of them, of any endpoint, where one is known."""

    number: int
    mark: Mark | None = None

    def passed(self, number: int, mark: Mark | None) -> "Place":
        """The place behind an event with this number; never before this one."""
        moved = mark is not None and (self.mark is None or mark.number > self.mark.number)
        return replace(self, number=max(self.number, number), mark=mark if moved else self.mark)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the inbox tells of a place: its newest number, the number that the mark has, what was dropped.

    `lost` is the highest number of events of the endpoints read that were dropped for their age, `aged` that of all.
    """

    newest: int
    found: int | None
    lost: int
    aged: int


def read_place(position: Position) -> Place | None:
    """The place that a position keeps, None where it has none."""
    if "number" not in position:
        return None
    mark = position.get("mark")
    if mark is None:
        return Place(int(position["number"]))
    received_at = datetime.fromisoformat(mark["received_at"])
    return Place(int(position["number"]), Mark(int(mark["number"]), UUID(mark["id"]), received_at))


def write_place(place: Place) -> dict[str, Any]:
    """A place as a position keeps it."""
    mark = place.mark
    if mark is None:
        return {"number": place.number}
    told = {"number": mark.number, "id": str(mark.id), "received_at": mark.received_at.isoformat()}
    return {"number": place.number, "mark": told}


def judge(place: Place, sight: Sight) -> None:
    """Raise InboxRestored or EventsDropped where reading on from a place would pass events by."""
    mark = place.mark
    # Not by what is settled: that goes back where one that stores was put to sleep before it left its mark.
    if sight.newest < place.number:
        raise InboxRestored(f"event {place.number} was read, and the newest one is {sight.newest}")
    if mark is not None and sight.found != mark.number and (sight.found is not None or mark.number > sight.aged):
        raise InboxRestored(f"event {mark.number} was {mark.id}, which is not there any more", number=mark.number)
    if sight.lost > place.number:
        raise EventsDropped(
            f"events up to {sight.lost} were dropped for their age, {place.number} was the last one read",
            number=place.number, lost=sight.lost,
        )  # fmt: skip
