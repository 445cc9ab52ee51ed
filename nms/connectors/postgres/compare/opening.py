"""Opens a pipeline that compares: takes over, checks, and makes ready both ends."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from nms.common.change import Shape
from nms.common.flow import Position
from nms.common.rounds import Rounds
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, parents_first, queries
from nms.connectors.postgres.compare.ends import Ends, Side
from nms.connectors.postgres.compare.form import forms_of
from nms.connectors.postgres.compare.rule import Rule
from nms.connectors.postgres.compare.source import CompareSource
from nms.connectors.postgres.compare.whole import Whole
from nms.connectors.postgres.compare.writer import PATIENCE, ComparedTarget, GuardedWriter
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.end import ShapedEnd
from nms.connectors.postgres.libpq import Libpq
from nms.connectors.postgres.pairing import Pair, Pairing
from nms.connectors.postgres.preflight import check_open
from nms.connectors.postgres.problems import FenceRaised, SystemChanged, translate
from nms.connectors.postgres.progress import place_of
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.takeover import Stand, new_sessions, take_over
from nms.connectors.postgres.target import PostgresTarget
from nms.connectors.postgres.writer import Writer

# So that a sort of a million keys stays in memory.
_SORT_MEMORY = "64MB"
_LEAST_BYTES, _UNKNOWN_BYTES = 32, 1024
# What a position has; one of another capture has more.
_OWN = {"generation", "place"}


@dataclass(slots=True)
class OpenedCompare(ShapedEnd):
    """An open pipeline that compares; `shapes` are those of its datasets, parents before children."""

    position: Position
    epoch: int
    source: CompareSource
    target: ComparedTarget
    shapes: Sequence[Shape]

    def all_shapes(self) -> Sequence[Shape]:
        """The shapes of the tables."""
        return self.shapes

    @property
    def copying(self) -> bool:
        """Never: the first round is one like the others."""
        return False

    def copied(self) -> tuple[int, int]:
        """Nothing is copied apart from what rounds find."""
        return 0, 0

    def facts(self) -> dict[str, Any]:
        """What the last round found and did, as JSON."""
        return {**self.source.facts(), "epoch": self.epoch}

    def place_of(self, position: Position) -> int:
        """A position as a number that grows with every batch."""
        return place_of(position)

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        await self.source.close()
        await self.target.close()


@asynccontextmanager
async def open_compare(spec: PipelineSpec) -> AsyncIterator[OpenedCompare]:
    """Take the pipeline over from whoever had it and open both ends; raises a Problem that names what is wrong."""
    own = new_sessions(spec.name)
    async with AsyncExitStack() as sessions:
        try:
            opened = await _open(spec, own, sessions)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error, at=f"{spec.source.system} or {spec.target.system}") from error
        try:
            yield opened
        finally:
            await opened.close()


async def _open(spec: PipelineSpec, own: str, sessions: AsyncExitStack) -> OpenedCompare:
    reads = []
    for access in (spec.source, spec.target):
        reads.append(await catalog.connect(access, name=own + "read"))
        sessions.callback(reads[-1].terminate)
        await queries.update_sort_memory(reads[-1], size=_SORT_MEMORY)
    left, right = reads
    checked = await check_open(left, right, spec)
    checked.refuse(spec.name)
    pairing = checked.pairing
    stand = await take_over(spec, left, right, own)
    position = await _start(spec, left, right, stand)
    looks = []
    for access in (spec.source, spec.target):
        looks.append(await Libpq.connect(access, name=own + "look"))
        sessions.push_async_callback(looks[-1].close)
    sides = (Side(spec.source.system, left, looks[0]), Side(spec.target.system, right, looks[1]))
    ends = Ends(*sides, stand.fence, SpoolSpace(spec.spool, spec.spool_budget))
    ordered = _parents_first(pairing)
    shapes = [one.shape() for one in ordered]
    written = await Libpq.connect(spec.target, name=own + "write")
    sessions.push_async_callback(written.close)
    await written.query(f"set lock_timeout = '{PATIENCE}'")
    made = PostgresTarget(written, stand.fence, _writers(pairing, ordered), defers=pairing.defers)
    target = ComparedTarget(made)
    source = CompareSource(position, ends, target, spec.rounds or Rounds(spec.every))
    whole, rules = await _works(spec, pairing, (ordered, shapes), (ends, target))
    source.take(whole, rules, acts=any(one.target.acts for one in ordered))
    return OpenedCompare(pairing.text_form, position, stand.fence.epoch, source, target, shapes)


async def _start(spec: PipelineSpec, source: Connection, target: Connection, stand: Stand) -> Position:
    """The target's position, or the first of a new generation."""
    stored = stand.position or {}
    system = (await queries.get_server(source))["system_identifier"]
    if stored.get("generation", 0) >= spec.generation and stand.system_identifier != system:
        # Another server would have everything removed that it lacks.
        raise SystemChanged(f"{spec.source.system} is system {system}, it was {stand.system_identifier} before")
    if stored.get("generation", 0) >= spec.generation and _OWN <= set(stored) <= _OWN | {"replayed"}:
        return stored
    if "lsn" in stored:
        # Nobody would read the slot any more, and the source would keep its log for ever.
        await slot.drop_slot(source, spec.slot)
    position: Position = {"generation": spec.generation, "place": place_of(stored)}
    held = await queries.update_position(
        target, pipeline=spec.name, epoch=stand.fence.epoch, position=json.dumps(position), source_system=system
    )
    if not held:
        raise FenceRaised(f"{spec.name} has gone to another worker")
    return position


async def _works(
    spec: PipelineSpec,
    pairing: Pairing,
    datasets: tuple[Sequence[Pair], Sequence[Shape]],
    ends: tuple[Ends, ComparedTarget],
) -> tuple[list[Whole], list[Rule]]:
    left, right = ends[0].source, ends[0].target
    version = (await queries.get_server(left.read))["version"]
    portable = await queries.get_hash_probe(left.read) == await queries.get_hash_probe(right.read)
    whole: list[Whole] = []
    rules: list[Rule] = []
    for number, (one, shape) in enumerate(zip(*datasets, strict=True)):
        forms = forms_of(one, portable=portable, version=version)
        row_bytes = max(_LEAST_BYTES, one.source.bytes // one.source.estimate) if one.source.estimate > 0 else 0
        rule = spec.rules.get(one.spec.source)
        work = Whole(shape, forms, ends) if rule is None else Rule(shape, forms, rule, ends)
        work.prepare(number, row_bytes or _UNKNOWN_BYTES, text_form=pairing.text_form)
        if isinstance(work, Whole):
            work.deletes = not spec.shared or bool(one.own)
        whole += [work] if isinstance(work, Whole) else []
        rules += [work] if isinstance(work, Rule) else []
    return whole, rules


def _parents_first(pairing: Pairing) -> list[Pair]:
    by_oid = {one.target.oid: one for one in pairing.pairs}
    return [by_oid[table.oid] for table in parents_first([one.target for one in pairing.pairs])]


def _writers(pairing: Pairing, ordered: Sequence[Pair]) -> Callable[[Shape], Writer]:
    numbers = {one.spec.source: at for at, one in enumerate(ordered)}

    def writer(shape: Shape) -> Writer:
        number = numbers[shape.dataset]
        one = ordered[number]
        table = one.target_table(text_form=pairing.text_form, stage=f"nms_stage_{number}")
        return GuardedWriter(number, shape, table, [right.oid for _, right in one.columns], heals=False)

    return writer
