"""The source's end of an open pipeline that polls."""

from dataclasses import dataclass
from typing import Any

from nms.common.flow import Position
from nms.connectors.postgres.end import TableEnd
from nms.connectors.postgres.poll.place import Polled
from nms.connectors.postgres.poll.source import PollSource
from nms.connectors.postgres.progress import place_of


@dataclass(slots=True)
class PollEnd(TableEnd):
    """The source's end of an open pipeline that polls; `cause` says why everything is copied anew, if it is."""

    source: PollSource
    cause: str | None

    @property
    def copying(self) -> bool:
        """Whether rows that were there before are still being copied."""
        return self.source.copying

    def facts(self) -> dict[str, Any]:
        """The last round and what each dataset has copied, as JSON."""
        turn = self.source.turn
        return {
            "delay_ms": None if turn.delay is None else round(turn.delay * 1000, 1),
            "round": {"number": turn.number, "seconds": round(turn.seconds, 3), "changes": turn.changes},
            "copied_anew": self.cause,
            "tables": {one.dataset.name: _table_facts(one) for one in self.source.polled},
        }

    def place_of(self, position: Position) -> int:
        """A position as a number that grows with every batch."""
        return place_of(position)


def _table_facts(one: Polled) -> dict[str, Any]:
    dataset = one.dataset
    return {"copied": dataset.rows, "of": dataset.estimate, "done": dataset.done, "by": one.by}
