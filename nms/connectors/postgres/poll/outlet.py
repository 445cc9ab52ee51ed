"""A database that is polled, into a target of another kind: rows in text form, the position kept elsewhere."""

import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from nms.common.flow import Position, Store, Target
from nms.common.rounds import Rounds
from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.poll.end import PollEnd
from nms.connectors.postgres.poll.look import get_stand, leave_the_log, look
from nms.connectors.postgres.poll.place import Polled, find_cause, passed, restore, start_of
from nms.connectors.postgres.poll.prepare import forget
from nms.connectors.postgres.poll.source import PollPlan, PollSource
from nms.connectors.postgres.preflight import check_outlet
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.progress import place_of
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.takeover import new_sessions, session_prefix

log = logging.getLogger(__name__)


@dataclass(slots=True)
class PollOutlet(PollEnd):
    """An open pipeline from a database that is polled to a target of another kind."""

    position: Position
    target: Target


@asynccontextmanager
async def open_poll_outlet(spec: PipelineSpec, store: Store, opening: Awaitable[Target]) -> AsyncIterator[PollOutlet]:
    """Take the pipeline over and open both ends; raises a Problem that names what is wrong."""
    target = await opening
    async with AsyncExitStack() as sessions:
        sessions.push_async_callback(target.close)
        try:
            end, position = await _open(spec, store, sessions)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error, at=spec.source.system) from error
        sessions.push_async_callback(end.source.close)
        yield PollOutlet(end.text_form, end.datasets, end.source, end.cause, position, target)


async def _open(spec: PipelineSpec, store: Store, sessions: AsyncExitStack) -> tuple[PollEnd, Position]:
    own = new_sessions(spec.name)
    made: list[Connection] = []
    for name in ("read", "aside"):
        made.append(await catalog.connect(spec.source, name=own + name))
        sessions.callback(made[-1].terminate)
    stored = await store.load()
    checked = await check_outlet(made[0], spec, stored)
    checked.refuse(spec.name)
    await queries.claim_sessions(made[0], prefix=session_prefix(spec.name), own=own)
    if not spec.change_log:
        await forget(spec)
    polled = await look(spec, made[0], checked.pairing)
    position, cause = await _start(spec, made[0], (store, stored), polled)
    restore(position, polled)
    for one in polled:
        one.dataset.table = replace(one.dataset.table, mark=_mark(position))
    plan = PollPlan(spec.name, position, polled, spec.rounds or Rounds(spec.every))
    source = PollSource(plan, made[0], made[1], SpoolSpace(spec.spool, spec.spool_budget))
    return PollEnd(checked.pairing.text_form, [one.dataset for one in polled], source, cause), position


async def _start(
    spec: PipelineSpec, source: Connection, kept: tuple[Store, Position | None], polled: list[Polled]
) -> tuple[Position, str | None]:
    """Where the pipeline goes on, or the beginning of a copy of everything and why it is needed."""
    store, stored = kept
    server, now = await get_stand(source)
    cause = find_cause(stored, (server, now), polled)
    if stored is not None and cause is None and stored["generation"] >= spec.generation:
        return stored, None
    await leave_the_log(spec, source)
    number = max(place_of(stored or {}), place_of(spec.known or {})) + 1
    place = {"generation": spec.generation, "server": server, "place": number, "since": number}
    position = start_of(place, now, polled, sweep=False) if spec.copy else passed(place, now, polled)
    await store.save(position)
    if stored is None and spec.known is None:
        return position, None
    cause = cause or "a resync was asked for"
    log.info("pipeline %s copies everything anew: %s", spec.name, cause)
    return position, cause


def _mark(position: Position) -> str:
    """Ids of transactions are those of a server and its history: what was copied anew is other versions of rows."""
    return f"poll-{position['generation']}.{position['since']}/"
