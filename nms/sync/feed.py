"""What the inbox feeds to a target that is no database: neither end keeps a position, so the own database does."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from nms.common.change import Change, Column, Shape
from nms.common.cloudevents import subject_of
from nms.common.flow import DatasetSpec, Feed, Position, Store, Target
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.end import ShapedEnd
from nms.connectors.postgres.progress import place_of

ANY: Final = "json"
"""The type of all fields: they travel as the JSON values that they came as."""

OpenFeed = Callable[[Mapping[str, Shape], Position], Awaitable[Feed]]


@dataclass(slots=True)
class Feeding(ShapedEnd):
    """An open pipeline with a database at neither end."""

    position: Position
    source: Feed
    target: Target
    shapes: Mapping[str, Shape]
    copying: bool = False

    def all_shapes(self) -> Sequence[Shape]:
        """The shapes that records are read in, one a dataset."""
        return list(self.shapes.values())

    def copied(self) -> tuple[int, int]:
        """Nothing: a feed has no rows that were there before."""
        return 0, 0

    def facts(self) -> dict[str, Any]:
        """What the source tells."""
        return self.source.facts()

    def place_of(self, position: Position) -> int:
        """The number of the batch that a position stands behind."""
        return place_of(position)

    def show_key(self, change: Change) -> str:
        """A change's key as a person reads it: texts without their quotes."""
        return subject_of(change)

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of an event that was held; raises the Problem that it is held for."""
        return self.source.read(dataset, body)

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        try:
            await self.source.close()
        finally:
            await self.target.close()


@asynccontextmanager
async def open_feeding(
    spec: PipelineSpec, store: Store, open_feed: OpenFeed, opening: Awaitable[Target]
) -> AsyncIterator[Feeding]:
    """Open both ends where the pipeline stands; raises a Problem that names what is wrong."""
    target = await opening
    try:
        shapes = {one.source: shape_of(one) for one in spec.datasets}
        position = _find_start(spec, await store.load())
        feeding = Feeding(True, position, await open_feed(shapes, position), target, shapes)
    except BaseException:
        await target.close()
        raise
    try:
        yield feeding
    finally:
        await feeding.close()


def shape_of(dataset: DatasetSpec) -> Shape:
    """The shape of a dataset whose fields its document names."""
    names = list(dataset.fields or ())
    return Shape(dataset.source, tuple(Column(name, ANY) for name in names), tuple(map(names.index, dataset.key or ())))


def _find_start(spec: PipelineSpec, stored: Position | None) -> Position:
    """Where to go on; never below a place that was used before, for what is held is told by it."""
    if stored is None or "place" not in stored or stored["generation"] < spec.generation:
        return {"generation": spec.generation, "place": max(place_of(stored or {}), place_of(spec.known or {}))}
    return stored
