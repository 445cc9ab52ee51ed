"""A REST source without a pipeline: its batches go into a table in memory, as a target would take them."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nms.common.change import UNCHANGED, Change, Column, Op, Shape, split_key, unframe
from nms.common.flow import Batch, FeedSpec, Poison, Position, changes_of
from nms.common.rounds import Rounds
from nms.connectors.rest.source import RestSource
from tests.service.rest_systems import system_of

TYPES = {"id": "bigint", "things_id": "bigint", "group": "integer"}
THINGS = ("id", "name", "updated_at")


def shape_of(dataset: str = "things", columns: Sequence[str] = THINGS, key: Sequence[int] = (0,)) -> Shape:
    """The shape of a dataset; columns are text unless their names are known."""
    return Shape(dataset, tuple(Column(name, TYPES.get(name, "text")) for name in columns), tuple(key))


@dataclass
class Table:
    """What arrived: rows by key for each dataset, what was held, and the position of the last batch."""

    position: Position = field(default_factory=dict)
    rows: dict[str, dict[tuple[str, ...], dict[str, Any]]] = field(default_factory=dict)
    held: list[Poison] = field(default_factory=list)
    deleted: list[tuple[str, ...]] = field(default_factory=list)
    batches: int = 0

    def of(self, dataset: str = "things") -> dict[tuple[str, ...], dict[str, Any]]:
        """The rows of a dataset by key."""
        return self.rows.setdefault(dataset, {})

    @property
    def ids(self) -> list[int]:
        """The ids of things, in order."""
        return sorted(int(key[0]) for key in self.of())

    async def apply(self, batch: Batch) -> None:
        """Take a batch with its position."""
        async for part in changes_of(batch):
            for change in part:
                self._write(change)
        self.held += batch.poison
        self.position = batch.position
        self.batches += 1

    async def keys(self, dataset: str) -> AsyncGenerator[Sequence[tuple[str, ...]], None]:
        """The keys of a dataset, in two parts."""
        found = sorted(self.of(dataset))
        for part in (found[: len(found) // 2], found[len(found) // 2 :]):
            yield part

    def _write(self, change: Change) -> None:
        key = tuple(_text(one) or "" for one in split_key(change.key))
        rows = self.of(change.shape.dataset)
        if change.op is Op.DELETE:
            del rows[key]
            self.deleted.append(key)
            return
        row = rows.setdefault(key, {})
        for column, value in zip(change.shape.columns, change.values, strict=True):
            if value is not UNCHANGED:
                row[column.name] = _text(value)


@asynccontextmanager
async def opened(url: str, table: Table, *shapes: Shape, **resources: Any) -> AsyncIterator[RestSource]:
    """A source that goes on where the table stands; its rounds are always due."""
    spec = FeedSpec(
        "items", 1, table.position, {shape.dataset: shape for shape in shapes or (shape_of(),)},
        rounds=Rounds(0.0), keys=table.keys,
    )  # fmt: skip
    source = await RestSource.open(system_of(url, resources=resources), spec)
    try:
        yield source
    finally:
        await source.close()


async def pull(source: RestSource, table: Table, rounds: int = 1, batches: int = 1_000_000) -> None:
    """Take batches into the table for so many rounds, or until there were so many."""
    if not rounds:
        return
    async with aclosing(source.batches()) as given:
        async for batch in given:
            await table.apply(batch)
            await source.confirm(batch.position)
            rounds -= batch.keep
            batches -= 1
            if not rounds or not batches:
                return


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = unframe(value)
    return None if text is None else text.decode()
