"""Opens a pipeline between two PostgreSQL systems: takes over, checks, and starts where the target stands."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from nms.common.change import Shape
from nms.common.document import PipelineDocument, PostgresSystem, SystemDocument
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec, Position
from nms.common.problem import Malformed
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.log import LogEnd, Sessions, open_log
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.poll.prepare import forget
from nms.connectors.postgres.preflight import check_open
from nms.connectors.postgres.probe import probe_database
from nms.connectors.postgres.problems import translate
from nms.connectors.postgres.reopen import reopen
from nms.connectors.postgres.takeover import begin, goes_on, new_sessions, session_prefix, take_over
from nms.connectors.postgres.target import PostgresTarget
from nms.connectors.postgres.writer import Writer


@dataclass(slots=True)
class Opened(LogEnd):
    """An open pipeline: where it starts, its two ends, its watch."""

    position: Position
    epoch: int
    target: PostgresTarget

    def facts(self) -> dict[str, Any]:
        """What the source's end tells, and the epoch of the fence."""
        return {**LogEnd.facts(self), "epoch": self.epoch}

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        try:
            await LogEnd.close(self)
        finally:
            await self.target.close()


@asynccontextmanager
async def open_pipeline(spec: PipelineSpec) -> AsyncIterator[Opened]:
    """Take the pipeline over from whoever had it and open both ends; raises a Problem that names what is wrong."""
    opened = await _connect(spec)
    try:
        yield opened
    finally:
        await opened.close()


async def release_source(spec: PipelineSpec) -> None:
    """Give back what a pipeline holds at its source: slot and publications, or what notes changes for it."""
    if spec.capture == "poll":
        await forget(spec)
    if spec.capture == "poll" or spec.only_reads:
        return
    source = await catalog.connect(spec.source, name=f"nms-release:{spec.name}")
    try:
        await slot.drop_slot(source, spec.slot)
    finally:
        source.terminate()


async def release_target(spec: PipelineSpec) -> None:
    """Give back what a pipeline holds at its target: its position."""
    target = await catalog.connect(spec.target, name=f"nms-release:{spec.name}")
    try:
        await queries.claim_sessions(target, prefix=session_prefix(spec.name), own="-")
        await queries.delete_position(target, pipeline=spec.name)
    finally:
        target.terminate()


async def _connect(spec: PipelineSpec) -> Opened:
    own = new_sessions(spec.name)
    source = await catalog.connect(spec.source, name=own + "read", waits=False)
    watcher: Connection | None = None
    target: Connection | None = None
    try:
        target = await catalog.connect(spec.target, name=own + "open")
        watcher = await catalog.connect(spec.source, name=own + "watch", waits=False)
        opened = await _open(spec, Sessions(own, source, watcher), target)
    except BaseException as error:
        for connection in (source, watcher):
            if connection is not None:
                connection.terminate()
        if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            raise translate(error, at=f"{spec.source.system} or {spec.target.system}") from error
        raise
    finally:
        if target is not None:
            target.terminate()
    return opened


async def _open(spec: PipelineSpec, sessions: Sessions, target: Connection) -> Opened:
    source = sessions.read
    checked = await check_open(source, target, spec)
    checked.refuse(spec.name, tables=spec.drift == "halt" or checked.facts is None or not checked.facts.begun)
    stand = await take_over(spec, source, target, sessions.own)
    if stand.position is not None and "snapshot" in stand.position:
        # It polled until now.
        await forget(spec)
    if await goes_on(spec, source, stand):
        position, pairing = await reopen(spec, (source, target), checked, stand)
    else:
        checked.refuse(spec.name)
        position, pairing = await begin(spec, source, target, checked.pairing, stand), checked.pairing
    log = await open_log(spec, sessions, pairing, position)
    try:
        writers = log.source.plan.tables.writer
        defers = any(one.target.defers for one in pairing.pairs)
        end = await PostgresTarget.open(spec.target, stand.fence, writers, name=sessions.own + "write", defers=defers)
    except BaseException:
        await log.close()
        raise
    return Opened(log.text_form, log.datasets, log.source, log.watch, position, stand.fence.epoch, end)


def make_writers(pairing: Pairing, names: Sequence[str], *, heals: bool) -> Callable[[Shape], Writer]:
    """What makes the writer of a shape; `names` are the datasets, parents before children."""
    numbers = {name: at for at, name in enumerate(names)}
    pairs = {one.spec.source: one for one in pairing.pairs}

    def writer(shape: Shape) -> Writer:
        one = pairs[shape.dataset]
        number = numbers[shape.dataset]
        table = one.target_table(text_form=pairing.text_form, stage=f"nms_stage_{number}")
        return Writer(number, shape, table, [right.oid for _, right in one.columns], heals=heals)

    return writer


async def probe(system: SystemDocument, pipeline: PipelineDocument | None) -> list[Finding]:
    """What a database says by itself, for a pipeline that uses it or for none; never raises a Problem."""
    if not isinstance(system, PostgresSystem):
        raise Malformed(f"system {system.name} is no PostgreSQL database")
    return await probe_database(system, pipeline)


__all__ = [
    "Access",
    "DatasetSpec",
    "Opened",
    "PipelineSpec",
    "open_pipeline",
    "probe",
    "release_source",
    "release_target",
]
