"""Opens both ends of a two-way pipeline at its database: what is written there, and what changes there."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from nms.common.change import Change, Column, Shape
from nms.common.flow import DatasetSpec, Feed, Position
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.connector import make_writers
from nms.connectors.postgres.end import ShapedEnd
from nms.connectors.postgres.inlet import begin_inlet
from nms.connectors.postgres.libpq import Libpq
from nms.connectors.postgres.log import LogEnd, Sessions, open_log
from nms.connectors.postgres.pairing import Pair, Pairing
from nms.connectors.postgres.preflight import check_outlet
from nms.connectors.postgres.problems import NotPrepared, translate
from nms.connectors.postgres.progress import marks_of, place_of
from nms.connectors.postgres.takeover import new_sessions
from nms.connectors.postgres.target import Fence
from nms.connectors.postgres.twoway import statements
from nms.connectors.postgres.twoway.side import Dataset, TwoWaySide, is_suspicious

PREPARE = Path(__file__).with_name("prepare.sql").read_text()
OpenFeed = Callable[[Mapping[str, Shape], Position, TwoWaySide], Awaitable[Feed]]


@dataclass(slots=True)
class TwoWayEnd(ShapedEnd):
    """The database side of an open two-way pipeline.

    `shapes` are those in which the remote's records come, by dataset; `tables` those of changes of the database, of
    which only the key is there, by the same names; `system` is the database. `log` is
    None where the tables are looked through instead. `follows_deletes`: there may be any number of deletions at once.
    """

    position: Position
    feed: Feed
    side: TwoWaySide
    shapes: Mapping[str, Shape]
    tables: Mapping[str, Shape]
    epoch: int
    system: str
    log: LogEnd | None = None
    follows_deletes: bool = False
    copying: bool = False
    lost: Mapping[str, int] = field(default_factory=dict)

    def all_shapes(self) -> list[Shape]:
        """The shapes of both directions."""
        return [*self.shapes.values(), *self.tables.values()]

    def copied(self) -> tuple[int, int]:
        """Nothing: a remote tells no number before."""
        return 0, 0

    def facts(self) -> dict[str, Any]:
        """What both sources tell, and the epoch of the fence."""
        told = {} if self.log is None else self.log.facts()
        return {**told, **self.feed.facts(), "epoch": self.epoch}

    def place_of(self, position: Position) -> int:
        """The number of the batch that a position stands behind."""
        return place_of(position)

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a record that was held; raises the Problem that it is held for."""
        return self.feed.read(dataset, body)

    async def close(self) -> None:
        """Close everything; safe to call twice."""
        try:
            await self.feed.close()
        finally:
            # Also when it is cancelled once more: a connection that nobody closes keeps its locks.
            await self.side.close()
            if self.log is not None:
                await self.log.close()


@asynccontextmanager
async def open_twoway(spec: PipelineSpec, open_feed: OpenFeed) -> AsyncIterator[TwoWayEnd]:
    """Take the pipeline over and open both ends; raises a Problem that names what is wrong."""
    own = new_sessions(spec.name)
    pairing, (fence, position) = await begin_inlet(spec, own)
    side = await _open_side(spec, (pairing, fence), own)
    end: TwoWayEnd | None = None
    log: LogEnd | None = None
    try:
        await side.is_altered()
        if "pulled" not in position and not spec.follows_deletes:
            await _revive(side)
        if spec.back == "log":
            position = _unpaused(position)
            stood, log = await _open_log(spec, pairing, position, own)
            position = {**position, "log": stood}
        shapes = {name: one.shape for name, one in side.datasets.items()}
        feed = await open_feed(shapes, position.get("pull", position), side)
        tables = {one.spec.source: _table_shape(one) for one in pairing.pairs}
        end = TwoWayEnd(True, position, feed, side, shapes, tables, fence.epoch, spec.target.system, log)
        end.follows_deletes = spec.follows_deletes
        yield end
    finally:
        if end is not None:
            await end.close()
        elif log is not None:
            await log.close()
        await side.close()


def _unpaused(position: Position) -> Position:
    """Where to go on behind a change of a column: what the log told since was left out, and is found by looking."""
    log = dict(position.get("log") or {})
    return {**position, "log": log, "look": {}} if log.pop("paused", None) else position


async def _revive(side: TwoWaySide) -> None:
    """When all is read anew, rows of a table that somebody emptied come back instead of going at the remote, too."""
    for name in side.datasets:
        if is_suspicious(*await side.count_missing(name)):
            await side.forget_missing(name)


async def release_twoway(spec: PipelineSpec) -> None:
    """Give back the slot at the database, and forget what both sides had last."""
    target = await catalog.connect(spec.target, name=f"nms-release:{spec.name}")
    try:
        if spec.back == "log":
            await slot.drop_slot(target, spec.slot)
        if await queries.get_base(target) is not None:
            await queries.delete_base(target, pipeline=spec.name)
    finally:
        target.terminate()


async def _open_side(spec: PipelineSpec, taken: tuple[Pairing, Fence], own: str) -> TwoWaySide:
    pairing, fence = taken
    libpq = await Libpq.connect(spec.target, name=own + "write")
    try:
        if (await libpq.query(statements.FIND_BASE))[0][0] is None:
            raise NotPrepared(
                f"{spec.target.system} has no table nms.base, which keeps what both sides had last",
                remedy="`nms doctor PIPELINE --prepare` makes it where the login may; then `nms resume PIPELINE`.",
                sql=PREPARE,
            )
        make = make_writers(pairing, [one.spec.source for one in pairing.pairs], heals=True)
        datasets = []
        for at, one in enumerate(pairing.pairs):
            shape = one.shape()
            table = one.target_table(text_form=True, stage=f"nms_stage_{at}")
            datasets.append(Dataset(one.spec.source, shape, table, make(shape)))
    except BaseException:
        await libpq.close()
        raise
    side = TwoWaySide(libpq, fence, datasets, says_origin=spec.back == "log")
    side.above = pairing.above
    return side


def _table_shape(one: Pair) -> Shape:
    """The shape of a table's changes: fields by their columns, the key in the same order as the remote's."""
    to = one.fed()
    names = [right.name for _, right in one.columns]
    columns = tuple(Column(right.name, right.type, right.oid) for _, right in one.columns)
    return Shape(one.spec.target, columns, tuple(names.index(to[name]) for name in one.key))


def back_spec(spec: PipelineSpec, pairing: Pairing) -> PipelineSpec:
    """The pipeline as its log sees it: from the tables to the remote."""
    datasets = []
    for one in pairing.pairs:
        to = one.fed()
        fields, key = {column: name for name, column in to.items()}, tuple(to[name] for name in one.key)
        declared = None if set(key) == set(one.target.log_key()) and key == one.target.log_key() else key
        datasets.append(DatasetSpec(one.spec.target, one.spec.source, fields, declared))
    return replace(
        spec, source=spec.target, target=spec.source, datasets=tuple(datasets), copy=False, capture="log",
        spool=spec.spool / "back",
    )  # fmt: skip


async def _open_log(spec: PipelineSpec, pairing: Pairing, position: Position, own: str) -> tuple[Position, LogEnd]:
    back = back_spec(spec, pairing)
    sessions: list[Connection] = []
    try:
        sessions.append(await catalog.connect(back.source, name=own + "read", waits=False))
        sessions.append(await catalog.connect(back.source, name=own + "watch", waits=False))
        return await _follow(back, Sessions(own, *sessions), position)
    except BaseException as error:
        for connection in sessions:
            connection.terminate()
        if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            raise translate(error, at=back.source.system) from error
        raise


async def _follow(back: PipelineSpec, sessions: Sessions, position: Position) -> tuple[Position, LogEnd]:
    source, stood = sessions.read, position.get("log")
    checked = await check_outlet(source, back, stood)
    checked.refuse(back.name)
    checked.pairing.for_messages = True
    await slot.end_reader(source, back.slot)
    tables = [one.source for one in checked.pairing.pairs]
    if stood is None:
        await slot.ensure_publications(source, back.slot, tables)
        place = await queries.get_place(source)
        lsn = await slot.create_slot(source, back.slot)
        stood = {"generation": back.generation, "lsn": lsn, "system": place["system_identifier"]}
        stood |= marks_of(checked.pairing.conditions())
    else:
        await slot.check_slot(source, back.slot, stood["lsn"], stood["system"])
        await slot.check_publications(source, back.slot, tables)
    return stood, await open_log(back, sessions, checked.pairing, stood)
