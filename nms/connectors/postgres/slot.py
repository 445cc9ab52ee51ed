"""The life of a slot and its publications: made, checked, taken over, measured, dropped."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from nms.connectors.postgres import statements
from nms.connectors.postgres.catalog import Connection, Table, queries
from nms.connectors.postgres.problems import PositionAhead, PublicationGone, SlotBusy, SlotLost, SystemChanged
from nms.connectors.postgres.wal import parse_lsn

_TAKE_OVER_SECONDS = 10.0
EVERY_ACTION = "insert, update, delete, truncate"
ADDING_ACTIONS = "insert, truncate"


@dataclass(frozen=True, slots=True)
class SlotState:
    """What the source retains for a slot: bytes of log, bytes not confirmed, wal_status."""

    retained: int
    behind: int
    status: str


def publication_names(slot: str) -> tuple[str, str]:
    """The publication of the tables with a key, and of those without: there only what adds rows is published.

    Publishing updates of a table without replica identity would make the source refuse them.
    """
    return slot, slot + "_keyless"


def plan_publications(slot: str, tables: Sequence[Table]) -> dict[str, tuple[list[str], str]]:
    """The publications a pipeline needs: name to tables and published actions."""
    keyed, keyless = publication_names(slot)
    plan = {
        keyed: ([table.own for table in tables if table.declared or table.log_key()], EVERY_ACTION),
        keyless: ([table.own for table in tables if not (table.declared or table.log_key())], ADDING_ACTIONS),
    }
    return {name: wanted for name, wanted in plan.items() if wanted[0]}


async def ensure_publications(connection: Connection, slot: str, tables: Sequence[Table]) -> list[str]:
    """Make the publications as planned; returns their names."""
    plan = plan_publications(slot, tables)
    there = {row["name"] for row in await queries.list_publications(connection, names=list(publication_names(slot)))}
    for name in publication_names(slot):
        if name not in plan and name in there:
            await connection.execute(statements.drop_publication(name))
    for name, (members, actions) in plan.items():
        if name in there and await _members(connection, name) == _asked(tables, members):
            continue
        await connection.execute(statements.drop_publication(name))
        await connection.execute(statements.create_publication(name, members, actions))
    return list(plan)


async def check_publications(connection: Connection, slot: str, tables: Sequence[Table]) -> list[str]:
    """The names of the publications; raises PublicationGone when one lacks a table."""
    plan = plan_publications(slot, tables)
    for name, (members, _) in plan.items():
        missing = _asked(tables, members) - await _members(connection, name)
        if missing:
            raise PublicationGone(
                f"publication {name} lacks {', '.join(sorted('.'.join(pair) for pair in missing))}", publication=name
            )
    return list(plan)


async def create_slot(connection: Connection, slot: str) -> str:
    """Make the slot anew; returns the LSN it starts at."""
    await end_reader(connection, slot)
    await queries.delete_slot(connection, name=slot)
    row = await queries.insert_slot(connection, name=slot)
    lsn: str = row["lsn"]
    return lsn


async def drop_slot(connection: Connection, slot: str) -> None:
    """Drop the slot and its publications."""
    await end_reader(connection, slot)
    await queries.delete_slot(connection, name=slot)
    for name in publication_names(slot):
        await connection.execute(statements.drop_publication(name))


async def end_reader(connection: Connection, slot: str) -> None:
    """End the walsender that still holds the slot: its worker has lost the lease."""
    deadline = asyncio.get_running_loop().time() + _TAKE_OVER_SECONDS
    while True:
        row = await queries.get_slot(connection, name=slot)
        if row is None or not row["active"]:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise SlotBusy(f"slot {slot} is held by process {row['active_pid']}", slot=slot, pid=row["active_pid"])
        try:
            await queries.claim_slot_reader(connection, name=slot)
        except asyncpg.InsufficientPrivilegeError as error:
            raise SlotBusy(f"slot {slot} is held by process {row['active_pid']} of another login") from error
        await asyncio.sleep(0.05)


async def check_slot(connection: Connection, slot: str, lsn: str, system_identifier: str) -> None:
    """Raise a named Problem when the slot cannot go on from this position on this server."""
    place = await queries.get_place(connection)
    if place["system_identifier"] != system_identifier:
        raise SystemChanged(
            f"the position is of server {system_identifier}, this is {place['system_identifier']}",
            expected=system_identifier, found=place["system_identifier"],
        )  # fmt: skip
    if parse_lsn(place["lsn"]) < parse_lsn(lsn):
        raise PositionAhead(f"the log ends at {place['lsn']}, the position is {lsn}", log=place["lsn"], position=lsn)
    row = await queries.get_slot(connection, name=slot)
    if row is None:
        raise SlotLost(f"slot {slot} does not exist on the source", slot=slot)
    if row["status"] == "lost" or row["restart"] is None:
        raise SlotLost(f"the source removed log that slot {slot} needs", slot=slot)
    if row["confirmed"] is not None and row["plugin"] != "pgoutput":
        raise SlotLost(f"slot {slot} belongs to another plugin, {row['plugin']}", slot=slot)


async def measure_slot(connection: Connection, slot: str) -> SlotState:
    """What the source retains; raises SlotLost."""
    row = await queries.get_slot(connection, name=slot)
    if row is None or row["status"] == "lost" or row["restart"] is None:
        raise SlotLost(f"slot {slot} was dropped or lost log it needs", slot=slot)
    return SlotState(row["retained"], row["behind"] or 0, row["status"] or "")


async def _members(connection: Connection, name: str) -> set[tuple[str, str]]:
    rows = await queries.list_published_tables(connection, name=name)
    return {(row["schema"], row["relation"]) for row in rows}


def _asked(tables: Sequence[Table], quoted: Sequence[str]) -> set[tuple[str, str]]:
    return {(table.schema, table.relation) for table in tables if table.own in quoted}
