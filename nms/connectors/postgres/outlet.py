"""PostgreSQL as the source of a target of another kind: the log in text form, its position kept elsewhere."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from nms.common.flow import Position, Store, Target
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.log import LogEnd, Sessions, open_log
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.poll.prepare import forget
from nms.connectors.postgres.preflight import check_outlet
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.progress import marks_of, place_of
from nms.connectors.postgres.takeover import new_sessions, session_prefix


@dataclass(slots=True)
class Outlet(LogEnd):
    """An open pipeline from the log of a database to a target of another kind."""

    position: Position
    target: Target

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        try:
            await self.target.close()
        finally:
            await LogEnd.close(self)


@asynccontextmanager
async def open_outlet(spec: PipelineSpec, store: Store, opening: Awaitable[Target]) -> AsyncIterator[Outlet]:
    """Take the pipeline over and open both ends; raises a Problem that names what is wrong."""
    target = await opening
    try:
        outlet = await _connect(spec, store, target)
    except BaseException:
        await target.close()
        raise
    try:
        yield outlet
    finally:
        await outlet.close()


async def _connect(spec: PipelineSpec, store: Store, target: Target) -> Outlet:
    own = new_sessions(spec.name)
    source = await catalog.connect(spec.source, name=own + "read", waits=False)
    watcher: Connection | None = None
    try:
        watcher = await catalog.connect(spec.source, name=own + "watch", waits=False)
        position, log = await _open(spec, Sessions(own, source, watcher), store)
    except BaseException as error:
        for connection in (source, watcher):
            if connection is not None:
                connection.terminate()
        if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            raise translate(error, at=spec.source.system) from error
        raise
    return Outlet(log.text_form, log.datasets, log.source, log.watch, position, target)


async def _open(spec: PipelineSpec, sessions: Sessions, store: Store) -> tuple[Position, LogEnd]:
    source = sessions.read
    stored = await store.load()
    checked = await check_outlet(source, spec, stored)
    checked.refuse(spec.name)
    await slot.end_reader(source, spec.slot)
    await queries.claim_sessions(source, prefix=session_prefix(spec.name), own=sessions.own)
    checked.pairing.for_messages = True
    position = stored if stored is not None and stored["generation"] >= spec.generation else None
    if position is None or "lsn" not in position:
        polled = stored if stored is not None and "lsn" not in stored else None
        position = await _begin(spec, source, checked.pairing, store, polled)
    else:
        tables = [one.source for one in checked.pairing.pairs]
        await slot.check_slot(source, spec.slot, position["lsn"], position["system"])
        await slot.check_publications(source, spec.slot, tables)
    return position, await open_log(spec, sessions, checked.pairing, position)


async def _begin(
    spec: PipelineSpec, source: Connection, pairing: Pairing, store: Store, polled: Position | None
) -> Position:
    tables = [one.source for one in pairing.pairs]
    await slot.ensure_publications(source, spec.slot, tables)
    place = await queries.get_place(source)
    lsn = await slot.create_slot(source, spec.slot)
    position: Position = {"generation": spec.generation, "lsn": lsn, "system": place["system_identifier"]}
    position |= marks_of(pairing.conditions())
    if polled is not None:
        # It polled until now.
        await forget(spec)
        position["since"] = place_of(polled)
    if spec.copy:
        position["tables"] = {one.source: {} for one in spec.datasets}
    await store.save(position)
    return position
