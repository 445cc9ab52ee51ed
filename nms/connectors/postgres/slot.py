"""The life of a slot and its publications: made, checked, taken over, measured, dropped."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from nms.connectors.postgres import alterations, statements
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
    """The publications a pipeline has: name to tables and published actions.

    Both are made, also without tables: one that is made later is not there where the log is read from.
    """
    keyed, keyless = publication_names(slot)
    return {
        keyed: ([table.own for table in tables if table.declared or table.log_key()], EVERY_ACTION),
        keyless: ([table.own for table in tables if not (table.declared or table.log_key())], ADDING_ACTIONS),
    }


async def ensure_publications(connection: Connection, slot: str, tables: Sequence[Table]) -> list[str]:
    """Make the publications as planned; returns their names."""
    plan = plan_publications(slot, tables)
    there = {row["name"] for row in await queries.list_publications(connection, names=list(publication_names(slot)))}
    for name, (members, actions) in plan.items():
        if name in there and await _members(connection, name) == _asked(tables, members):
            continue
        await connection.execute(alterations.drop_publication(name))
        await connection.execute(alterations.create_publication(name, members, actions))
    return list(plan)


async def check_publications(connection: Connection, slot: str, tables: Sequence[Table]) -> list[str]:
    """The names of the publications; raises PublicationGone when one lacks a table."""
    plan = plan_publications(slot, tables)
    for name, (members, _) in plan.items():
        missing = await unpublished(connection, name, [table for table in tables if table.own in members])
        if missing:
            raise lacks(name, missing)
    return list(plan)


async def unpublished(connection: Connection, name: str, tables: Sequence[Table]) -> list[Table]:
    """Those of the tables that a publication does not have."""
    members = await _members(connection, name) if tables else set()
    return [table for table in tables if (table.schema, table.relation) not in members]


def lacks(name: str, missing: Sequence[Table]) -> PublicationGone:
    """The Problem of a publication without tables that it should have."""
    names = sorted(f"{table.schema}.{table.relation}" for table in missing)
    return PublicationGone(f"publication {name} lacks {', '.join(names)}", publication=name)


async def follow_publications(connection: Connection, slot: str, came: Sequence[Table], names: set[str]) -> None:
    """Publish tables that came, each where it belongs, and those no longer whose names are not given."""
    wanted = await _named(connection, names)
    plan = plan_publications(slot, came)
    for name in publication_names(slot):
        members = await _members(connection, name)
        tables, _ = plan[name]
        others = {(one.schema, one.relation) for one in came} - _asked(came, tables)
        for schema, relation in sorted(members - wanted | members & others):
            await connection.execute(alterations.drop_from_publication(name, statements.quote_table(schema, relation)))
        for one in came:
            if one.own in tables and (one.schema, one.relation) not in members:
                await connection.execute(alterations.add_to_publication(name, one.own))


async def _named(connection: Connection, names: set[str]) -> set[tuple[str, str]]:
    rows = await queries.list_tables(connection, names=sorted(names))
    return {(row["schema"], row["relation"]) for row in rows}


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
        await connection.execute(alterations.drop_publication(name))


async def end_reader(connection: Connection, slot: str) -> None:
    """End the walsender that still holds the slot: its worker has lost the lease. A stranger's slot is left alone."""
    deadline = asyncio.get_running_loop().time() + _TAKE_OVER_SECONDS
    while True:
        row = await queries.get_slot(connection, name=slot)
        if row is None or not row["own"] or not row["active"]:
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
    if row is None or not row["own"]:
        raise SlotLost(f"slot {slot} does not exist in this database of the source", slot=slot)
    if row["status"] == "lost" or row["restart"] is None:
        raise SlotLost(f"the source removed log that slot {slot} needs", slot=slot)


async def measure_slot(connection: Connection, slot: str) -> SlotState:
    """What the source retains; raises SlotLost."""
    row = await queries.get_slot(connection, name=slot)
    if row is None or not row["own"] or row["status"] == "lost" or row["restart"] is None:
        raise SlotLost(f"slot {slot} was dropped or lost log it needs", slot=slot)
    return SlotState(row["retained"], row["behind"] or 0, row["status"] or "")


async def _members(connection: Connection, name: str) -> set[tuple[str, str]]:
    rows = await queries.list_published_tables(connection, name=name)
    return {(row["schema"], row["relation"]) for row in rows}


def _asked(tables: Sequence[Table], quoted: Sequence[str]) -> set[tuple[str, str]]:
    return {(table.schema, table.relation) for table in tables if table.own in quoted}
