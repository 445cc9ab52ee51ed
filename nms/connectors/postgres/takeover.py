"""Taking a pipeline over from whoever had it, and finding where it starts."""

import json
import secrets
from dataclasses import dataclass, field

from nms.common.flow import Position
from nms.connectors.postgres import slot
from nms.connectors.postgres.catalog import Connection, parents_first, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.layouts import Stored, describe
from nms.connectors.postgres.pairing import Pair, Pairing
from nms.connectors.postgres.problems import FenceRaised, TargetBehind
from nms.connectors.postgres.progress import marks_of
from nms.connectors.postgres.statements import empty_table
from nms.connectors.postgres.target import Fence
from nms.connectors.postgres.wal import parse_lsn


def session_prefix(pipeline: str) -> str:
    """How the names of all sessions of a pipeline begin, at the source and at the target."""
    return f"nms:{pipeline}:"


def new_sessions(pipeline: str) -> str:
    """How the names of one worker's sessions begin, so that a later one ends the others and not its own."""
    return f"{session_prefix(pipeline)}{secrets.token_hex(4)}:"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the target stands: the fence just raised, the position, the server that position belongs to.

    `layouts` has each table as the log had it there.
    """

    fence: Fence
    position: Position | None
    system_identifier: str
    layouts: dict[str, Stored] = field(default_factory=dict)


async def take_over(spec: PipelineSpec, source: Connection, target: Connection, own: str) -> Stand:
    """End the sessions of earlier workers on both ends, raise the fence, and read where the target stands."""
    prefix = session_prefix(spec.name)
    if spec.capture == "log":
        await slot.end_reader(source, spec.slot)
    for connection in (source, target):
        await queries.claim_sessions(connection, prefix=prefix, own=own)
    system = (await queries.get_server(source))["system_identifier"]
    row = await queries.upsert_position(target, pipeline=spec.name, source_system=system)
    for connection in (source, target):
        await queries.claim_sessions(connection, prefix=prefix, own=own)
    stored = json.loads(row["position"]) if row["position"] else None
    return Stand(Fence(spec.name, row["epoch"]), stored, row["source_system"], json.loads(row["layouts"]))


async def goes_on(spec: PipelineSpec, source: Connection, stand: Stand) -> bool:
    """Whether the pipeline goes on from the target's position; raises a named Problem when it should and cannot."""
    # What another capture left tells nothing of the log.
    stored = stand.position if stand.position is not None and "lsn" in stand.position else None
    _check_target(spec, stored)
    if stored is None or stored["generation"] < spec.generation:
        return False
    await slot.check_slot(source, spec.slot, stored["lsn"], stand.system_identifier)
    return True


async def begin(spec: PipelineSpec, source: Connection, target: Connection, pairing: Pairing, stand: Stand) -> Position:
    """The beginning of a new generation with a slot of its own."""
    tables = [one.source for one in pairing.pairs]
    await slot.ensure_publications(source, spec.slot, tables)
    position: Position = {"generation": spec.generation, "lsn": await slot.create_slot(source, spec.slot)}
    position |= marks_of(pairing.conditions())
    again = spec.copy and (spec.generation > 1 or stand.position is not None)
    # A second copy meets rows of the first: those that the source no longer has must go.
    sweep = again and sweepable(pairing)
    if spec.copy:
        position["tables"] = {one.source: {"sweep": True} if sweep else {} for one in spec.datasets}
    await write_start(spec, (source, target), pairing, stand, (position, again and not sweep))
    return position


async def write_start(
    spec: PipelineSpec,
    ends: tuple[Connection, Connection],
    pairing: Pairing,
    stand: Stand,
    start: tuple[Position, bool],
) -> None:
    """Keep the position that a copy begins at (at the target); with `empty` what is there goes first."""
    source, target = ends
    position, empty = start
    place = await queries.get_place(source)
    async with target.transaction():
        # First, so that a worker that was stopped on the way here finds the fence raised before it empties anything.
        held = await queries.update_tables(
            target, pipeline=spec.name, epoch=stand.fence.epoch, position=json.dumps(position),
            source_system=place["system_identifier"],
            layouts=json.dumps({one.spec.source: describe(one) for one in pairing.pairs}),
        )  # fmt: skip
        if not held:
            raise FenceRaised(f"{spec.name} has gone to another worker")
        if empty:
            pairs = {one.target.oid: one for one in pairing.pairs}
            for table in reversed(parents_first([one.target for one in pairing.pairs])):
                mine = pairs[table.oid].target_table(text_form=pairing.text_form, stage="")
                await target.execute(empty_table(mine))


def _check_target(spec: PipelineSpec, stored: Position | None) -> None:
    """Raise TargetBehind when the target has less than it once told us it had."""
    known = spec.known
    if known is None or "lsn" not in known or known["generation"] < spec.generation:
        return
    if stored is None:
        raise TargetBehind(f"the position of {spec.name} is gone from the target", known=known["lsn"], found=None)
    if stored["generation"] == known["generation"] and parse_lsn(stored["lsn"]) < parse_lsn(known["lsn"]):
        raise TargetBehind(
            f"the target stands at {stored['lsn']}, it was at {known['lsn']} before",
            known=known["lsn"], found=stored["lsn"],
        )  # fmt: skip


def sweepable(pairing: Pairing) -> bool:
    """Whether rows of all tables can be removed range by range while the copy goes on.

    A row must not be held in place by another that is swept later.
    """
    return all(is_sweepable(one) and not one.target.parents for one in pairing.pairs)


def is_sweepable(one: Pair) -> bool:
    """Whether rows of a table can be removed range by range: both sides must order keys alike."""
    key = [pair for pair in one.columns if pair[0].name in one.key]
    alike = all(not left.collated and not right.collated and left.type == right.type for left, right in key)
    return alike and len(one.target.keys) <= 1
