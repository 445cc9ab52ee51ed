"""A two-way pipeline, opened: both ends of its database, the remote, and the engine between them."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from nms.common.change import Change, Shape
from nms.common.flow import Feed, FeedSpec, Position
from nms.common.ledger import Ledger
from nms.common.remote import Remote, RemoteSpec
from nms.common.rounds import Rounds
from nms.connectors.postgres.twoway.opening import TwoWayEnd, open_twoway
from nms.connectors.postgres.twoway.side import TwoWaySide
from nms.sync.absence import Absences
from nms.sync.archive import Archive
from nms.sync.capture import Way, channel_of
from nms.sync.conflict import Conflicts
from nms.sync.engine import Engine
from nms.sync.problems import NamesAlike, PlaceChanged
from nms.sync.pull import Key, Name, Pull
from nms.sync.push import Push
from nms.sync.turn import Turns


class Both(Protocol):
    """What the module `connector` of a remote that can be written to record by record offers."""

    async def open_remote(self, access: Any, spec: RemoteSpec) -> Remote:
        """Be ready to read and write single records."""
        ...


@dataclass(slots=True)
class TwoWay:
    """An open two-way pipeline."""

    position: Position
    end: TwoWayEnd
    source: Turns
    target: Engine
    conflicts: Conflicts
    copying: bool = False

    @property
    def names(self) -> Sequence[str]:
        """Resources and tables, by the names that changes of either bear."""
        return self.end.names

    def copied(self) -> tuple[int, int]:
        """Nothing: a remote tells no number before."""
        return self.end.copied()

    def facts(self) -> dict[str, Any]:
        """What both ends tell, what was written to the remote, and what waits for somebody."""
        push = self.target.push
        told = {"sent": push.writes, "echoes": push.echoes, "conflicts": self.conflicts.waiting}
        told["doubtful"] = len(push.absences)
        trouble = push.absences.trouble
        more = {} if trouble is None else {"trouble": trouble.to_dict()}
        return {**more, **self.end.facts(), "back": {**self.target.remote.facts(), **told}}

    def place_of(self, position: Position) -> int:
        """The number of the batch that a position stands behind."""
        return self.end.place_of(position)

    def shape(self, dataset: str) -> Shape:
        """The shape of a resource's or table's changes."""
        return self.end.shape(dataset)

    def show_key(self, change: Change) -> str:
        """A change's key as a person reads it."""
        return self.end.show_key(change)

    def show_values(self, change: Change) -> dict[str, str | None]:
        """A change's values as a person reads them."""
        return self.end.show_values(change)

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a record that was held; raises the Problem that it is held for."""
        return self.end.read(dataset, body)


@asynccontextmanager
async def open_both_ways(way: Way, conflicts: Conflicts, ledger: Ledger) -> AsyncIterator[TwoWay]:
    """Open a two-way pipeline; raises a Problem that names what is wrong."""
    spec, channel = way.spec, channel_of(way.source)
    alike = [one.source for one in spec.datasets if one.source in {other.target for other in spec.datasets}]
    if alike:
        raise NamesAlike(f"{alike[0]} is a resource and a table of {spec.name}", dataset=alike[0])
    access, rounds = channel.access_of(way.source), spec.rounds or Rounds(spec.every)

    async def open_feed(shapes: Mapping[str, Shape], start: Position, side: TwoWaySide) -> Feed:
        feed = FeedSpec(spec.name, spec.generation, start, shapes, True, rounds, _keys_of(side), side.above)
        return await channel.open_feed(access, feed)

    async with open_twoway(spec, open_feed) as end:
        remote = await cast(Both, channel).open_remote(access, RemoteSpec(spec.name, end.shapes, ledger))
        try:
            await _agree_on_places(end, {name: remote.place(name) for name in end.shapes}, spec.generation)
            pull = Pull(end.side, conflicts, way.rules)
            archive = Archive(ledger)
            await archive.open()
            absences = Absences(rounds)
            push = Push(end.side, remote, pull, archive, absences)

            async def asked() -> list[Name]:
                return [*await conflicts.asked(), *absences.due()]

            turns = Turns(end, rounds, asked, looks=spec.back == "poll")
            yield TwoWay(end.position, end, turns, Engine(end, turns, remote, pull, push), conflicts)
        finally:
            await remote.close()


async def _agree_on_places(end: TwoWayEnd, places: Mapping[str, str], generation: int) -> None:
    """Raise PlaceChanged for what was synced with another place; in a new generation it is forgotten instead."""
    known = end.position.get("places", {"generation": generation, "of": {}})
    for dataset in [name for name, place in places.items() if known["of"].get(name, place) != place]:
        if known["generation"] == generation and await end.side.count_known(dataset, 1):
            raise PlaceChanged(f"{dataset} was synced with another `url` or `path`", dataset=dataset)
        await end.side.forget(dataset)
    end.position["places"] = {"generation": generation, "of": dict(places)}


class _Keys(Protocol):
    def __call__(self, dataset: str) -> AsyncGenerator[Sequence[Key], None]: ...


def _keys_of(side: TwoWaySide) -> _Keys:
    async def keys(dataset: str) -> AsyncGenerator[Sequence[Key], None]:
        """What the remote had when it was last heard of: rows that only the table has are none of its."""
        after: Key = ()
        while part := await side.list_kept(dataset, after):
            yield part
            after = part[-1]

    return keys
