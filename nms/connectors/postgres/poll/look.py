"""What a poll finds at its source when it opens: where the server stands, the tables, and what is left of the log."""

import logging

import asyncpg

from nms.connectors.postgres import slot
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.log import make_datasets
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.poll.place import Horizon, Polled
from nms.connectors.postgres.poll.round import read_members

log = logging.getLogger(__name__)


async def get_stand(source: Connection) -> tuple[str, Horizon]:
    """Which server this is, on which timeline, and what is visible there now."""
    row = await queries.get_stand(source)
    return row["server"], Horizon(row["snapshot"])


async def look(spec: PipelineSpec, source: Connection, pairing: Pairing) -> list[Polled]:
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


async def leave_the_log(spec: PipelineSpec, source: Connection) -> None:
    """Drop the slot of a pipeline that followed the log before: nobody would read it, and it keeps log for ever."""
    if await queries.get_slot(source, name=spec.slot) is None:
        return
    try:
        await slot.drop_slot(source, spec.slot)
    except asyncpg.InsufficientPrivilegeError:
        log.warning("slot %s of %s is left and keeps log: its pipeline polls now", spec.slot, spec.source.system)
