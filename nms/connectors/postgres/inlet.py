"""PostgreSQL as the target of a source of another kind: messages into tables, the position in the same transaction."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from nms.common.change import Change, Shape
from nms.common.flow import Feed, Position
from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.connector import make_writers
from nms.connectors.postgres.end import ShapedEnd
from nms.connectors.postgres.pages.target import PageTarget
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.preflight import check_inlet
from nms.connectors.postgres.problems import FenceRaised, translate
from nms.connectors.postgres.progress import place_of
from nms.connectors.postgres.statements import select_keys
from nms.connectors.postgres.takeover import new_sessions, session_prefix
from nms.connectors.postgres.target import Fence, PostgresTarget

log = logging.getLogger(__name__)
Shapes = Mapping[str, Shape]
Keys = Callable[[str], AsyncGenerator[Sequence[tuple[str, ...]], None]]
Above = Mapping[str, set[str]]
OpenFeed = Callable[[Shapes, Position, Keys, Above], Awaitable[Feed]]
KEYS_PART = 10_000


@dataclass(slots=True)
class Inlet(ShapedEnd):
    """An open pipeline from a queue or topic into tables."""

    position: Position
    source: Feed
    target: PostgresTarget
    shapes: Shapes
    epoch: int
    copying: bool = False

    def all_shapes(self) -> Sequence[Shape]:
        """The shapes that messages are read in, one a dataset."""
        return list(self.shapes.values())

    def copied(self) -> tuple[int, int]:
        """Nothing: a queue has no rows that were there before."""
        return 0, 0

    def facts(self) -> dict[str, Any]:
        """What the source tells, and the epoch of the fence."""
        return {**self.source.facts(), "epoch": self.epoch}

    def place_of(self, position: Position) -> int:
        """The number of the batch that a position stands behind."""
        return place_of(position)

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a message that was held; raises the Problem that it is held for."""
        return self.source.read(dataset, body)

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        try:
            await self.source.close()
        finally:
            await self.target.close()


@asynccontextmanager
async def open_inlet(spec: PipelineSpec, open_feed: OpenFeed) -> AsyncIterator[Inlet]:
    """Take the pipeline over and open both ends; raises a Problem that names what is wrong."""
    own = new_sessions(spec.name)
    pairing, stand = await begin_inlet(spec, own)
    shapes = {one.spec.source: one.shape() for one in pairing.pairs}
    fence, position = stand
    feed = await open_feed(shapes, position, _keys(spec, pairing, own), pairing.above)
    try:
        writers = make_writers(pairing, list(shapes), heals=spec.heals)
        target = await PageTarget.open(spec.target, fence, writers, name=own + "write")
    except BaseException:
        await feed.close()
        raise
    inlet = Inlet(True, position, feed, target, shapes, fence.epoch)
    try:
        yield inlet
    finally:
        await inlet.close()


async def begin_inlet(spec: PipelineSpec, own: str) -> tuple[Pairing, tuple[Fence, Position]]:
    """Check the target and take the pipeline over; gives the tables, the fence and where to go on."""
    target = await catalog.connect(spec.target, name=own + "open")
    try:
        checked = await check_inlet(target, spec)
        checked.refuse(spec.name)
        return checked.pairing, await _take_over(spec, target, own)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.target.system) from error
    finally:
        target.terminate()


async def _take_over(spec: PipelineSpec, target: Connection, own: str) -> tuple[Fence, Position]:
    prefix = session_prefix(spec.name)
    await queries.claim_sessions(target, prefix=prefix, own=own)
    row = await queries.upsert_position(target, pipeline=spec.name, source_system=spec.source.system)
    await queries.claim_sessions(target, prefix=prefix, own=own)
    stored: Position | None = json.loads(row["position"]) if row["position"] else None
    position = _find_start(spec, stored)
    held = position == stored or await queries.update_position(
        target, pipeline=spec.name, epoch=row["epoch"], position=json.dumps(position), source_system=spec.source.system
    )
    if not held:
        raise FenceRaised(f"{spec.name} has gone to another worker")
    return Fence(spec.name, row["epoch"]), position


def _keys(spec: PipelineSpec, pairing: Pairing, own: str) -> Keys:
    tables = {one.spec.source: one.target_table(text_form=True, stage="") for one in pairing.pairs}

    async def keys(dataset: str) -> AsyncGenerator[Sequence[tuple[str, ...]], None]:
        """The keys of the pipeline's rows of a dataset, in parts and in order; no transaction lasts longer than one."""
        table, after = tables[dataset], None
        connection = await catalog.connect(spec.target, name=own + "keys")
        try:
            while part := [tuple(row) for row in await connection.fetch(select_keys(table, after, KEYS_PART))]:
                yield part
                after = part[-1]
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error, at=spec.target.system) from error
        finally:
            connection.terminate()

    return keys


def _find_start(spec: PipelineSpec, stored: Position | None) -> Position:
    """Where a feed goes on: where the target stands, but never below a place that was used before.

    Places number batches: what is held beyond where the target stands is taken for what comes again. A target that
    lost its position gets no message of a queue again; of a topic it does, from the offsets that stand beside it, and
    of the inbox from the number of an event.
    """
    place = max(place_of(stored or {}), place_of(spec.known or {}))
    if stored is None or "place" not in stored or stored["generation"] < spec.generation:
        # What both sides of a record had last is not copied anew: it stays known where that was.
        kept = {name: told for name, told in (stored or {}).items() if name == "places"}
        return {"generation": spec.generation, "place": place, **kept}
    if place > place_of(stored) and not {"offsets", "number"} & stored.keys():
        log.warning("the target of %s lost what it had from its queue: it stands before batch %s", spec.name, place)
        return {**stored, "place": place}
    return stored
