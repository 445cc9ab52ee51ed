"""Opens a pipeline that polls: takes over, checks, and starts where the target stands or with a copy."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from nms.common.flow import Position
from nms.common.rounds import Rounds
from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import Connection
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.connector import make_writers
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.poll.end import PollEnd
from nms.connectors.postgres.poll.look import get_stand, leave_the_log, look
from nms.connectors.postgres.poll.place import Polled, find_cause, passed, restore, start_of
from nms.connectors.postgres.poll.prepare import forget
from nms.connectors.postgres.poll.source import PollPlan, PollSource
from nms.connectors.postgres.preflight import check_open
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.progress import place_of
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.takeover import Stand, new_sessions, sweepable, take_over, write_start
from nms.connectors.postgres.target import PostgresTarget

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenedPoll(PollEnd):
    """An open pipeline between two databases that polls."""

    position: Position
    epoch: int
    target: PostgresTarget

    def facts(self) -> dict[str, Any]:
        """What the source's end tells, and the epoch of the fence."""
        return {**PollEnd.facts(self), "epoch": self.epoch}

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
    polled = await look(spec, source, checked.pairing)
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
    return OpenedPoll(checked.pairing.text_form, datasets, made, cause, position, stand.fence.epoch, end)


async def _connect(spec: PipelineSpec, side: str, name: str, sessions: AsyncExitStack) -> Connection:
    made = await catalog.connect(getattr(spec, side), name=name)
    sessions.callback(made.terminate)
    return made


async def _start(
    spec: PipelineSpec, ends: tuple[Connection, Connection], pairing: Pairing, found: tuple[Stand, list[Polled]]
) -> tuple[Position, str | None]:
    """Where the target stands, or the beginning of a copy of everything and why it is needed."""
    stand, polled = found
    server, now = await get_stand(ends[0])
    stored = stand.position
    cause = find_cause(stored, (server, now), polled)
    if stored is not None and cause is None and stored["generation"] >= spec.generation:
        return stored, None
    await leave_the_log(spec, ends[0])
    # Rows of an earlier copy may be there, whose position was lost with another one of the target.
    again = stored is not None or spec.known is not None or spec.generation > 1
    sweep = again and spec.copy and sweepable(pairing)
    number = max(place_of(stored or {}), place_of(spec.known or {})) + 1
    place = {"generation": spec.generation, "server": server, "place": number}
    position = start_of(place, now, polled, sweep=sweep) if spec.copy else passed(place, now, polled)
    await write_start(spec, ends, pairing, stand, (position, again and spec.copy and not sweep))
    if again:
        log.info("pipeline %s copies everything anew: %s", spec.name, cause or "a resync was asked for")
    return position, (cause or "a resync was asked for") if again else None
