"""Opens a pipeline that polls: takes over, checks, and starts where the target stands or with a copy."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from nms.common.flow import Position
from nms.common.rounds import Rounds
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.connector import make_writers
from nms.connectors.postgres.end import TableEnd
from nms.connectors.postgres.log import make_datasets
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.poll.place import Horizon, Polled, find_cause, position_of, restore
from nms.connectors.postgres.poll.prepare import forget
from nms.connectors.postgres.poll.round import read_members
from nms.connectors.postgres.poll.source import PollPlan, PollSource
from nms.connectors.postgres.preflight import check_open
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.progress import place_of
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.takeover import Stand, new_sessions, sweepable, take_over, write_start
from nms.connectors.postgres.target import PostgresTarget

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenedPoll(TableEnd):
    """An open pipeline that polls; `cause` says why everything is copied anew, if it is."""

    position: Position
    epoch: int
    source: PollSource
    target: PostgresTarget
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
            "epoch": self.epoch,
            "tables": {one.dataset.name: _table_facts(one) for one in self.source.polled},
        }

    def place_of(self, position: Position) -> int:
        """A position as a number that grows with every batch."""
        return place_of(position)

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        await self.source.close()
        await self.target.close()


@asynccontextmanager
async def open_poll(spec: PipelineSpec) -> AsyncIterator[OpenedPoll]:
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


async def _open(spec: PipelineSpec, own: str, sessions: AsyncExitStack) -> OpenedPoll:
    source, aside, target = [
        await _connect(spec, side, own + name, sessions)
        for side, name in (("source", "read"), ("source", "aside"), ("target", "open"))
    ]
    checked = await check_open(source, target, spec)
    checked.refuse(spec.name)
    stand = await take_over(spec, source, target, own)
    if not spec.change_log:
        await forget(spec)
    polled = await _look(spec, source, checked.pairing)
    position, cause = await _start(spec, (source, target), checked.pairing, (stand, polled))
    restore(position, polled)
    datasets = [one.dataset for one in polled]
    writers = make_writers(checked.pairing, [one.name for one in datasets], heals=spec.heals)
    end = await PostgresTarget.open(
        spec.target, stand.fence, writers, name=own + "write", defers=checked.pairing.defers
    )
    # Rows of a round have no order in time: one statement writes those that refer to each other.
    end.staged_above = 0
    sessions.push_async_callback(end.close)
    plan = PollPlan(spec.name, position, polled, spec.rounds or Rounds(spec.every))
    made = PollSource(plan, source, aside, SpoolSpace(spec.spool, spec.spool_budget))
    return OpenedPoll(checked.pairing.text_form, datasets, position, stand.fence.epoch, made, end, cause)


async def _connect(spec: PipelineSpec, side: str, name: str, sessions: AsyncExitStack) -> Connection:
    made = await catalog.connect(getattr(spec, side), name=name)
    sessions.callback(made.terminate)
    return made


async def _look(spec: PipelineSpec, source: Connection, pairing: Pairing) -> list[Polled]:
    """The tables as they are now, each with the way its changes are found."""
    pairs = {one.spec.source: one for one in pairing.pairs}
    polled = [Polled(one, pairs[one.name].source.oid) for one in make_datasets(pairing)]
    members = await read_members(source, polled)
    followed = {}
    if spec.change_log:
        rows = await queries.list_followed(source, pipeline=spec.name, oids=[one.oid for one in polled])
        followed = {row["relation"]: (row["mark"], int(row["horizon"])) for row in rows}
    for one in polled:
        pair = pairs[one.dataset.name]
        one.members = members.get(one.oid, frozenset())
        cursor = next((each for each in pair.source.columns if each.name == pair.spec.cursor), None)
        if one.oid in followed:
            one.by, (one.mark, one.kept) = "log", followed[one.oid]
        elif cursor is not None:
            one.by = "column" if cursor.type == "xid8" else "value"
            one.cursor, one.kind, one.overlap = cursor.name, cursor.type, pair.spec.overlap
    return polled


async def _start(
    spec: PipelineSpec, ends: tuple[Connection, Connection], pairing: Pairing, found: tuple[Stand, list[Polled]]
) -> tuple[Position, str | None]:
    """Where the target stands, or the beginning of a copy of everything and why it is needed."""
    stand, polled = found
    here = await queries.get_stand(ends[0])
    now = Horizon(here["snapshot"])
    stored = stand.position
    cause = find_cause(stored, (here["server"], now), polled)
    if stored is not None and cause is None and stored["generation"] >= spec.generation:
        return stored, None
    await _leave_the_log(spec, ends[0])
    # Rows of an earlier copy may be there, whose position was lost with another one of the target.
    again = stored is not None or spec.known is not None or spec.generation > 1
    sweep = again and spec.copy and sweepable(pairing)
    number = max(place_of(stored or {}), place_of(spec.known or {})) + 1
    place = {"generation": spec.generation, "server": here["server"], "place": number}
    position: Position = {**place, "snapshot": now.snapshot, "ways": {}}
    if spec.copy:
        position["tables"] = {one.dataset.name: {"sweep": sweep} for one in polled}
    else:
        for one in polled:
            one.dataset.done = True
        position = position_of(place, now, polled)
    await write_start(spec, ends, pairing, stand, (position, again and spec.copy and not sweep))
    if again:
        log.info("pipeline %s copies everything anew: %s", spec.name, cause or "a resync was asked for")
    return position, (cause or "a resync was asked for") if again else None


async def _leave_the_log(spec: PipelineSpec, source: Connection) -> None:
    """Drop the slot of a pipeline that followed the log before: nobody would read it, and it keeps log for ever."""
    if await queries.get_slot(source, name=spec.slot) is None:
        return
    try:
        await slot.drop_slot(source, spec.slot)
    except asyncpg.InsufficientPrivilegeError:
        log.warning("slot %s of %s is left and keeps log: its pipeline polls now", spec.slot, spec.source.system)


def _table_facts(one: Polled) -> dict[str, Any]:
    dataset = one.dataset
    return {"copied": dataset.rows, "of": dataset.estimate, "done": dataset.done, "by": one.by}
