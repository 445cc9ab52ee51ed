"""What the inbox publishes to those who read it, in the database `nms`."""

from collections.abc import Sequence

from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.connectors.inbox.place import Mark, Place, Sight
from nms.connectors.inbox.reading import Event

queries = load("nms.connectors.inbox")


class FeedRepository(BaseNmsRepository):
    """Events in the order in which they are passed on."""

    async def settled(self) -> int:
        """Up to this number everything is stored or never will be."""
        return int(await queries.get_settled(self.connection))

    async def list_events(self, endpoints: Sequence[str], after: int, upto: int, bound: tuple[int, int]) -> list[Event]:
        """The next events behind a number; `bound` has how many, and after how many bytes of bodies no more."""
        size, bytes_ = bound
        rows = await queries.list_events(
            self.connection, endpoints=list(endpoints), after=after, upto=upto, size=size, bytes=bytes_
        )
        return [Event(**row) for row in rows]

    async def look(self, endpoints: Sequence[str], place: Place | None) -> Sight:
        """What is told of a place; to be asked after reading on from it, so that no drop in between is missed."""
        mark = None if place is None else place.mark
        row = await queries.get_place(
            self.connection,
            endpoints=list(endpoints),
            event=None if mark is None else mark.id,
            arrived=None if mark is None else mark.received_at,
        )
        return Sight(row["newest"], row["found"], row["lost"], row["aged"])

    async def newest(self, upto: int) -> Mark | None:
        """The newest event of any endpoint up to a number."""
        row = await queries.get_newest(self.connection, upto=upto)
        return None if row is None else Mark(**row)
